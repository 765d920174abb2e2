"""What can be run, by name: files, presets, and presets with a method or a task in their name."""

import pytest
import yaml

from lib.algos import registry
from lib.core.errors import UserError
from lib.core.paths import PARAMS
from lib.experiments import catalogue, params, run_config

TDMPC, DREAMER = registry.family("tdmpc"), registry.family("dreamer")
STREAMS = {"grid-full": "grid-full", "grid-quick": "grid-quick"} | {
    f"{body}{size}": f"{body}{size or '-full'}"
    for body in ("cheetah", "walker")
    for size in ("", "-quick", "-h200")
}


@pytest.mark.parametrize("name", registry.presets())
def test_every_preset_with_every_method_stands_for_a_run(name):
    family = registry.of_preset(name)
    for method in family.methods:
        found = catalogue.read(f"{method}-{name}", PARAMS)
        assert (found["preset"], found["method"]) == (name, method)
        try:
            run = run_config.resolve(found)
        except UserError:
            assert not catalogue._fits(name, method)
        else:
            assert (run.preset, run.method_name) == (name, method)


@pytest.mark.parametrize("stream", STREAMS)
def test_every_learner_of_a_stream_takes_what_its_files_agree_in(stream):
    (agreed,) = {found["device"] for found in of_preset(STREAMS[stream])}
    for method in TDMPC.methods:
        found = catalogue.read(f"{method}-{stream}", PARAMS)
        run = run_config.resolve(found)
        assert (run.name, run.preset) == (f"{method}-{stream}", STREAMS[stream])
        assert run.method_name == method and found["device"] == agreed
        assert list(run.tasks) == TDMPC.presets[STREAMS[stream]]["tasks"]


def of_preset(preset: str) -> list[dict]:
    every = [yaml.safe_load(path.read_text()) for path in catalogue.files(PARAMS).values()]
    return [found for found in every if found["preset"] == preset]


@pytest.mark.parametrize("stream", ["minigrid3", "minihack4", "minihack8", "interference"])
def test_the_published_size_may_be_left_out(stream):
    for method in ("scratch", "continual-dreamer-recent", "dreamer-random-evict"):
        found = catalogue.read(f"{method}-{stream}", PARAMS)
        assert (found["preset"], found["method"]) == (f"{stream}-full", method)
        assert found["name"] == f"{method}-{stream}"


@pytest.mark.parametrize(
    ("name", "tasks", "acting"),
    [
        ("cheetah-transfer-jump2back", ["jump2back"], "outputs/drago-cheetah-s0"),
        ("cheetah-transfer-quick-jump-and-run", ["jump-and-run"], None),
        ("cheetah-few-shot-quick-jump2back", ["jump2back"], "outputs/drago-cheetah-quick-s0"),
        ("walker-transfer-back2run", ["back2run"], "outputs/drago-walker-s0"),
        ("walker-transfer-quick-run-backwards", ["run-backwards"], None),
        ("grid-transfer-quick-3to4", ["room-3to4"], None),
    ],
)
def test_a_preset_for_new_tasks_has_every_task_of_its_world(name, tasks, acting):
    found = catalogue.read(name, PARAMS)
    assert (found["tasks"], found.get("pre_rollout"), found["method"]) == (tasks, acting, "tdmpc")
    assert found["load_mode"] == "world-model" and found["load_from"].startswith("outputs/drago-")
    assert run_config.resolve(found).name == name


@pytest.mark.parametrize(
    "name", ["drago-grid-quick", "drago-grid-quick.yaml", "params/drago-grid-quick.yaml"]
)
def test_a_file_is_found_wherever_it_lies(name):
    path = PARAMS / "tdmpc" / "grid" / "drago-grid-quick.yaml"
    assert catalogue.read(name, PARAMS) == params.read(path)


def test_a_file_comes_before_a_preset_of_its_name(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "ewc-grid-quick.yaml").write_text("seed: 7")
    assert catalogue.read("ewc-grid-quick", tmp_path) == {"seed": 7}
    assert catalogue.read("drago-grid-quick", tmp_path)["preset"] == "grid-quick"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("drago-grid-quik", "drago-grid-quick"),
        ("grid-quik", "grid-quick"),
        ("ewc-grid-quik", "ewc-grid-quick"),
        ("ewc-minigrid3", "did you mean"),
    ],
)
def test_a_name_that_stands_for_nothing_is_guessed(name, near):
    with pytest.raises(UserError, match=f"unknown params file or preset '{name}'.*{near}"):
        catalogue.read(name, PARAMS)


def test_an_overview_has_every_method_preset_and_file_and_fits_the_screen():
    text = catalogue.overview(PARAMS)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    words = set(text.split())
    for family in (TDMPC, DREAMER):
        assert {*family.methods, *family.presets} <= words
    assert set(catalogue.files(PARAMS)) <= words
    # DRAGO has a file for it, the others run without; visits are counted in MiniGrid alone
    assert "  grid-quick              o o o o o o F o o o" in lines
    (row,) = [line for line in lines if line.startswith("  minihack8-full")]
    assert row.split()[1:5] == ["F", "o", "o", "."]
    assert "published command MiniGrid DV2" in text
