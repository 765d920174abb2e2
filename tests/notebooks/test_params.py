"""Every file below params/ can start a run: its keys, its types, its values and its comment."""

import re
from pathlib import Path

import pytest
import yaml

from lib.algos import registry
from lib.algos.dreamer.presets import METHODS as DREAMERS
from lib.algos.dreamer.presets import PRESETS as DREAMED
from lib.algos.tdmpc.presets import METHODS, TRANSFER
from lib.core.paths import PARAMS
from lib.envs import worlds
from lib.experiments import catalogue, notebooks, run_config

FILES = sorted(path for path in PARAMS.rglob("*.yaml") if path.parent.name != catalogue.STUDIES)
OF_DREAMERS = [path for path in FILES if yaml.safe_load(path.read_text())["preset"] in DREAMED]


@pytest.fixture(scope="module")
def declared():
    return notebooks.parameters(notebooks.RUN)


def test_the_notebook_declares_what_families_resolve(declared):
    assert set(declared) == set(run_config.PARAMETERS)
    kinds = {name: type(default).__name__ for name, default in run_config.PARAMETERS.items()}
    assert declared == kinds


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_params_file_can_start_a_run(path, declared):
    found = yaml.safe_load(path.read_text())
    notebooks.check_parameters(found, declared)
    config = run_config.resolve(found)
    assert config.name == path.stem.removesuffix("-seeds")  # the runs are those of single seeds
    rest = found["tasks"][len(found["tasks"]) - len(config.tasks) :]  # begun in mid-sequence
    assert list(config.tasks) == rest, "tasks are listed, not left to the preset"
    assert len(rest) == len(found["tasks"]) or "start_at" in found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_params_file_says_what_where_from_and_how_long(path):
    comment = " ".join(
        line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("#")
    )
    assert "Source: " in comment and "Expect: " in comment
    assert "CPU" in comment or "GPU" in comment


def test_files_lie_in_folders_by_family_and_world():
    names = [path.stem for path in FILES]
    assert len(set(names)) == len(names) < 150
    for path in FILES:
        run = run_config.resolve(yaml.safe_load(path.read_text()))
        folder = "sources" if run.preset.startswith("sources-") else run.env.domain
        assert path.relative_to(PARAMS).parts[:-1] == (run.family, folder)


def test_every_world_has_a_quick_start_and_the_published_setting():
    names = {path.stem for path in FILES}
    assert {"drago-grid-quick", "drago-grid-full"} <= names
    for domain in ("cheetah", "walker"):
        assert {f"drago-{domain}{size}" for size in ("", "-quick", "-h200")} <= names
    assert {"dreamer-minigrid3-quick", "continual-dreamer-minigrid3-quick"} <= names


def test_every_preset_of_dreamers_but_the_smallest_has_files():
    used = {yaml.safe_load(path.read_text())["preset"] for path in OF_DREAMERS}
    assert used == set(DREAMED) - {"debug", "dmc-debug"}


def test_every_method_has_its_source_beside_the_files():
    text = (PARAMS / "README.md").read_text()
    assert {*METHODS, *DREAMERS} <= set(re.findall(r"`([\w-]+)`", text))


@pytest.mark.parametrize(
    "name",
    [
        # one for each command of the published README; comments in them say what differs
        "dreamer-minigrid3",
        "dreamer-visits-minigrid3",
        "dreamer-p2e-minigrid3",
        "dreamer-minihack4",
        "dreamer-p2e-pixels-minihack4",
        "continual-dreamer-minihack4",
        "continual-dreamer-p2e-pixels-minihack4",
        "continual-dreamer-recent-minihack4",
        "dreamer-coverage-minihack4",
        "dreamer-reward-minihack4",
        "dreamer-minihack8",
        "continual-dreamer-minihack8",
        "dreamer-interference",
        "dreamer-interference-random",
        "dreamer-p2e-pixels-interference",
        "dreamer-p2e-pixels-interference-half",
        "dreamer-p2e-pixels-interference-random",
        "dreamer-p2e-pixels-interference-random-half",
    ],
)
def test_every_published_command_of_continual_dreamer_has_a_file(name):
    path = catalogue.files(PARAMS)[name]
    assert yaml.safe_load(path.read_text())["preset"].endswith("-full")
    assert "published command" in " ".join(path.read_text().replace("#", "").split())


@pytest.mark.parametrize(
    ("method", "stem"),
    [
        *(("dreamer", stem) for stem in ("", "-random")),
        *(("dreamer-p2e-pixels", stem) for stem in ("", "-half", "-random", "-random-half")),
    ],
)
def test_interference_runs_with_the_defaults_of_the_published_parser(method, stem):
    # MiniHack's parser: the acting policy is evaluated, sampled; with exploration (the only case in
    # which `rssm_full_recon` is read) pictures alone shape the latents, without a discount head
    run = run_config.resolve(catalogue.read(f"{method}-interference{stem}", PARAMS))
    assert run.explore.evaluate == "acting"
    explores = method != "dreamer"
    assert (run.explore.bonus == "plan2explore") == explores
    assert run.objective.discount_head != explores and run.objective.reward_shapes != explores
    assert run.explore.intrinsic == (0.5 if "half" in stem else 0.9)


@pytest.mark.parametrize("preset", ["minigrid3", "minihack4", "minihack8"])
def test_forward_transfer_has_runs_that_it_is_measured_against(preset):
    found = catalogue.read(f"scratch-{preset}", PARAMS)
    alone = run_config.resolve(found)
    for path in OF_DREAMERS:
        run = run_config.resolve(yaml.safe_load(path.read_text()))
        if run.preset == alone.preset and run.method_name == "continual-dreamer":
            assert (run.tasks, run.env, run.budget) == (alone.tasks, alone.env, alone.budget)


@pytest.mark.parametrize("path", OF_DREAMERS, ids=lambda path: path.stem)
def test_a_dreamers_file_names_the_tasks_and_the_method_of_its_preset(path):
    found = yaml.safe_load(path.read_text())
    if found["preset"].startswith("sources-"):  # sources, stages and targets differ in their tasks
        assert found["method"] == "dreamer-v1"
        return
    assert found["tasks"] == DREAMED[found["preset"]]["tasks"]
    changed = {"env_steps_per_task"} if "visits-minigrid3" in path.stem else set()
    changed |= {"overrides"} if path.stem.endswith("-half") else set()
    usual = {"name", "preset", "method", "device", "tasks"}
    assert found.keys() - usual - {"seed", "seeds"} == changed - (
        {"env_steps_per_task"} if "quick" in path.stem else set()
    )


@pytest.mark.parametrize("path", OF_DREAMERS, ids=lambda path: path.stem)
def test_the_settings_that_a_dreamers_comment_tells_are_real_ones(path):
    found = yaml.safe_load(path.read_text())
    told = re.findall(r"-p ([\w.]+)=([\w.:-]+\w)", path.read_text())
    for method in [value for name, value in told if name == "method"]:
        run_config.resolve(found | {"method": method})
    given = {name: yaml.safe_load(value) for name, value in told if name != "method"}
    plain = {name: value for name, value in given.items() if name in run_config.PARAMETERS}
    dotted = found.get("overrides", {}) | {n: v for n, v in given.items() if n not in plain}
    run_config.resolve(found | plain | {"overrides": dotted})


@pytest.mark.parametrize("domain", ["cheetah", "walker"])
@pytest.mark.parametrize("method", ["scratch", "tdmpc", "drago"])
def test_the_methods_of_the_main_comparison_run_on_a_large_gpu(method, domain):
    found = catalogue.read(f"{method}-{domain}-h200", PARAMS)
    assert (found["preset"], found["method"]) == (f"{domain}-h200", method)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_about_the_preset_that_its_name_says(path):
    found = yaml.safe_load(path.read_text())
    preset = found["preset"].removesuffix("-full")
    assert preset in path.stem
    if "transfer" not in preset and "few-shot" not in preset:
        assert path.stem.startswith(f"{found['method']}-{preset}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_file_builds_on_can_be_made_with_another_file(path):
    found = yaml.safe_load(path.read_text())
    mine = run_config.resolve(found)
    foreign = registry.of(mine).foreign(mine)
    for place in (found.get("load_from"), found.get("pre_rollout"), *(one.path for one in foreign)):
        if place:
            source = re.fullmatch(
                r"outputs/(.*)-s(?:0|\{seed\})(/checkpoints/task-1\.safetensors)?", place
            )[1]
            theirs = run_config.resolve(catalogue.read(source, PARAMS))
            assert theirs.env == mine.env
            for sizes in ("model", "vae", "latent", "network"):  # whichever the family has
                assert getattr(theirs, sizes, None) == getattr(mine, sizes, None)


@pytest.mark.parametrize("domain", list(TRANSFER))
def test_every_transfer_has_a_quick_and_a_full_file(domain):
    names = {path.stem for path in FILES}
    first = TRANSFER[domain][0].removeprefix("room-")
    assert {f"{domain}-transfer{size}-{first}" for size in ("", "-quick")} <= names


def test_tasks_that_begin_with_another_agent_name_one_that_learnt_to():
    for path in FILES:
        found = yaml.safe_load(path.read_text())
        env = run_config.resolve(found).env
        for task in worlds.resolve(env, found["tasks"]):
            assert bool(task.after) == bool(found.get("pre_rollout")), path.stem
            if task.after:
                source = Path(found["pre_rollout"]).name.removesuffix("-s0")
                assert task.after in catalogue.read(source, PARAMS)["tasks"]


@pytest.mark.parametrize("domain", ["cheetah", "walker"])
@pytest.mark.parametrize("size", ["", "-quick"])
def test_a_few_shots_have_a_file(domain, size):
    assert any(path.stem.startswith(f"{domain}-few-shot{size}-") for path in FILES)


@pytest.mark.parametrize("name", ["drago-cheetah", "drago-walker"])
def test_the_plain_name_of_a_body_is_the_published_setting(name):
    found = catalogue.read(name, PARAMS)
    assert found["preset"] == f"{name.removeprefix('drago-')}-full" and found["method"] == "drago"


@pytest.mark.parametrize(
    "name",
    ["drago-grid-quick", "dreamer-minigrid3-quick", "continual-dreamer-minigrid3-quick"],
)
def test_several_seeds_have_a_file_that_differs_from_that_of_one_in_the_seeds_alone(name):
    found = catalogue.read(f"{name}-seeds", PARAMS)
    one = catalogue.read(name, PARAMS)
    assert [config.seed for config in run_config.resolve_seeds(found)] == [0, 1, 2]
    assert run_config.resolve_seeds(found)[0] == run_config.resolve(one)


def test_a_sequence_can_be_begun_in_the_middle():
    begun = [yaml.safe_load(path.read_text()) for path in FILES]
    begun = [found for found in begun if found.get("start_at")]
    assert begun and all(found["load_from"] for found in begun)
