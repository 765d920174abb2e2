"""Every file in params/ can start a run: its keys, its types, its values and its comment."""

import re
from pathlib import Path

import pytest
import yaml

from lib.algos.dreamer.presets import METHODS as DREAMERS
from lib.algos.dreamer.presets import PRESETS as DREAMED
from lib.algos.tdmpc.presets import METHODS, TRANSFER
from lib.core.paths import PARAMS
from lib.envs import worlds
from lib.experiments import notebooks, params, run_config

FILES = sorted(PARAMS.glob("*.yaml"))
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


def test_every_method_has_a_quick_and_a_full_file():
    names = {path.stem for path in FILES}
    assert {f"{method}-grid-{size}" for method in METHODS for size in ("quick", "full")} <= names
    for domain in ("cheetah", "walker"):
        sizes = ("", "-quick")
        assert {f"{method}-{domain}{size}" for method in METHODS for size in sizes} <= names


def test_every_dreamer_has_a_quick_file_and_one_of_the_published_size():
    names = {path.stem for path in FILES}
    assert {f"{method}-minigrid3-quick" for method in DREAMERS} <= names
    full = {yaml.safe_load(p.read_text())["method"] for p in OF_DREAMERS if "quick" not in p.stem}
    assert full == set(DREAMERS)


def test_every_preset_of_dreamers_but_the_smallest_has_files():
    used = {yaml.safe_load(path.read_text())["preset"] for path in OF_DREAMERS}
    assert used == set(DREAMED) - {"debug"}


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
        "dreamer-p2e-interference",
        "dreamer-p2e-interference-half",
        "dreamer-p2e-interference-random",
        "dreamer-p2e-interference-random-half",
    ],
)
def test_every_published_command_of_continual_dreamer_has_a_file(name):
    assert params.read(name, PARAMS)["preset"].endswith("-full")


@pytest.mark.parametrize("preset", ["minigrid3", "minihack4", "minihack8"])
def test_forward_transfer_has_runs_that_it_is_measured_against(preset):
    found = params.read(f"scratch-{preset}", PARAMS)
    alone = run_config.resolve(found)
    for path in OF_DREAMERS:
        run = run_config.resolve(yaml.safe_load(path.read_text()))
        if run.preset == alone.preset and run.method_name == "continual-dreamer":
            assert (run.tasks, run.env, run.budget) == (alone.tasks, alone.env, alone.budget)


@pytest.mark.parametrize("path", OF_DREAMERS, ids=lambda path: path.stem)
def test_a_dreamers_file_names_the_tasks_and_the_method_of_its_preset(path):
    found = yaml.safe_load(path.read_text())
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
    told = re.findall(r"-p ([\w.]+)=(\S+)", path.read_text())
    given = {name: yaml.safe_load(value) for name, value in told}
    plain = {name: value for name, value in given.items() if name in run_config.PARAMETERS}
    dotted = found.get("overrides", {}) | {n: v for n, v in given.items() if n not in plain}
    run_config.resolve(found | plain | {"overrides": dotted})


@pytest.mark.parametrize("domain", ["cheetah", "walker"])
@pytest.mark.parametrize("method", ["scratch", "tdmpc", "drago"])
def test_the_methods_of_the_main_comparison_have_a_file_for_a_large_gpu(method, domain):
    found = yaml.safe_load((PARAMS / f"{method}-{domain}-h200.yaml").read_text())
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
    for place in (found.get("load_from"), found.get("pre_rollout")):
        if place:
            source = re.fullmatch(r"outputs/(.*)-s0(/checkpoints/task-1\.safetensors)?", place)[1]
            theirs = run_config.resolve(yaml.safe_load((PARAMS / f"{source}.yaml").read_text()))
            mine = run_config.resolve(found)
            assert (theirs.env, theirs.model, theirs.vae) == (mine.env, mine.model, mine.vae)


@pytest.mark.parametrize("domain", list(TRANSFER))
def test_every_transfer_has_a_quick_and_a_full_file(domain):
    names = {path.stem for path in FILES}
    tasks = [task.removeprefix("room-") for task in TRANSFER[domain]]
    sizes = ("", "-quick")
    assert {f"{domain}-transfer{size}-{task}" for size in sizes for task in tasks} <= names


def test_tasks_that_begin_with_another_agent_name_one_that_learnt_to():
    for path in FILES:
        found = yaml.safe_load(path.read_text())
        env = run_config.resolve(found).env
        for task in worlds.resolve(env, found["tasks"]):
            assert bool(task.after) == bool(found.get("pre_rollout")), path.stem
            if task.after:
                source = Path(found["pre_rollout"]).name.removesuffix("-s0")
                assert (
                    task.after in yaml.safe_load((PARAMS / f"{source}.yaml").read_text())["tasks"]
                )


@pytest.mark.parametrize("domain", ["cheetah", "walker"])
@pytest.mark.parametrize("size", ["", "-quick"])
def test_a_few_shots_have_a_file(domain, size):
    assert any(path.stem.startswith(f"{domain}-few-shot{size}-") for path in FILES)


@pytest.mark.parametrize("name", ["drago-cheetah", "drago-walker"])
def test_the_plain_name_of_a_body_is_the_published_setting(name):
    found = params.read(name, PARAMS)
    assert found["preset"] == f"{name.removeprefix('drago-')}-full" and found["method"] == "drago"


@pytest.mark.parametrize(
    "name",
    ["drago-grid-quick", "dreamer-minigrid3-quick", "continual-dreamer-minigrid3-quick"],
)
def test_several_seeds_have_a_file_that_differs_from_that_of_one_in_the_seeds_alone(name):
    found = params.read(f"{name}-seeds", PARAMS)
    one = params.read(name, PARAMS)
    assert [config.seed for config in run_config.resolve_seeds(found)] == [0, 1, 2]
    assert run_config.resolve_seeds(found)[0] == run_config.resolve(one)


def test_a_sequence_can_be_begun_in_the_middle():
    begun = [yaml.safe_load(path.read_text()) for path in FILES]
    begun = [found for found in begun if found.get("start_at")]
    assert begun and all(found["load_from"] for found in begun)
