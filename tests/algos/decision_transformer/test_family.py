import pytest
import torch

from lib.algos import registry
from lib.algos.decision_transformer.presets import ABOUT, CW10, DMC6, DMC10, METHODS, MT40, PRESETS
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.core import config
from lib.core.errors import UserError
from lib.core.seeding import Streams
from lib.experiments import run_config
from tests.sequence_tiny import tiny, world

FULL = [name for name in PRESETS if name.endswith("-full")]


@pytest.mark.parametrize("preset", FULL)
@pytest.mark.parametrize("method", ["dt-full", "dt-hide-lora"])
def test_published_sizes_can_be_asked_for_and_begin_with_a_trained_model(preset, method):
    given = {"preset": preset, "method": method}
    if preset.startswith("mt40") or method == "dt-full":
        assert run_config.resolve(given).preset == preset
        return
    with pytest.raises(UserError, match="changes a trained model a little.*load_from") as error:
        run_config.resolve(given)
    assert "\n" not in str(error.value)
    given |= {"load_mode": "world-model", "load_from": "outputs/pretrained"}
    assert run_config.resolve(given).preset == preset


def test_published_sizes_are_written_down():
    run = run_config.plain("cw10-full", "dt-l2m")
    assert run.model == ModelConfig() and len(run.tasks) == 10 and run.tasks[0] == "hammer"
    assert run.budget.updates_of(9) == 100_000 and run.tune.rate == 1e-4 and run.tune.batch == 256
    settings = run.modulators.l2m
    assert (settings.rank, settings.scale, settings.pool, settings.pull) == (8, 2, 30, 0.5)
    assert settings.init == "original"
    before = run_config.plain("mt40-dmc10-full", "dt-full")
    assert before.budget.updates_of(0) == 500_000 and before.pretrain.warm_up == 2_000
    assert before.data.reward_scale == (200.0,) * 40 + (100.0,) * 10
    assert [len(tasks) for tasks in (MT40, CW10, DMC10, DMC6)] == [40, 10, 10, 6]
    assert not {*MT40} & {*CW10} and not {*DMC10} & {*DMC6}


def test_methods_that_are_told_the_task_say_so():
    for method in METHODS:
        run = tiny(method)
        agent = registry.build_agent(run, world(run), Streams(0), torch.device("cpu"))
        assert ("oracle" in ABOUT[method]) == agent.modulator.labelled
        assert not (agent.modulator.labelled and agent.modulator.infers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__heads": 4}, "model.width 14 cannot be shared by 4 heads"),
        ({"model__steps": 29}, "model.steps 29 is fewer than an episode's 30 decisions"),
        ({"pretrain__tasks": 9}, "pretrain.tasks 9 is more than the run's 3"),
        ({"pretrain__tasks": 0}, "method 'dt-hide-lora' changes a trained model.*load_mode"),
        ({"modulator__kind": "lroa"}, "unknown modulator.kind 'lroa'.*did you mean 'lora'"),
        ({"env__observation": "pixels"}, "env.observation 'pixels' of point-mass"),
        ({"env__domain": "grif"}, "unknown value for 'env.domain'.*did you mean 'grid'"),
        ({"modulators__hide_lora__centroids": 99}, "centroids 99 is more than the 40 windows"),
        ({"tasks": ["point-mass-turn-1"]}, "unknown task.*did you mean 'point-mass-turn-"),
        ({"modulators__lora__init": "small"}, "unknown value for 'modulators.lora.init'"),
        ({"modulators__hide_lora__tii": "told"}, "unknown value for 'modulators.hide_lora.tii'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes, message):
    with pytest.raises(UserError, match=message) as error:
        tiny(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__actions": 1}, "task 'point-mass-free' is 2 numbers.*tokens for 1 numbers"),
        ({"model__slots": 7}, "task 'point-mass-free' shows 8 numbers and needs 8 slots.*has 7"),
    ],
)
def test_tasks_that_a_model_has_no_room_for_are_refused_before_anything_begins(changes, message):
    run = tiny(**changes)
    with pytest.raises(UserError, match=message) as error:
        registry.build_agent(run, world(run), Streams(0), torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_a_stream_begins_anywhere_with_as_many_updates_as_before():
    run = run_config.plain("point-mass-quick", "dt-lora")
    rest = registry.of(run).cut(run, 2)
    assert rest.tasks == run.tasks[2:] and rest.pretrain.tasks == 0
    assert [rest.budget.updates_of(i) for i in range(3)] == [150] * 3
    assert run.budget.updates_of(0) == 800
    given = {"preset": "point-mass-quick", "start_at": "point-mass-turn-0"}
    found = {"load_mode": "world-model", "load_from": "somewhere"}
    assert run_config.resolve(given | found).tasks == run.tasks[1:]
    with pytest.raises(UserError, match="goes on where a run over point-mass-pretrain ended"):
        run_config.resolve(given)


def test_memory_is_counted():
    run = run_config.plain("cw10-full", "dt-full")
    small = registry.of(run).least_bytes(run)
    wide = registry.of(run).least_bytes(config.merge(run, {"model": {"width": 7_680}}))
    assert 5e8 < small < 5e9 and wide > 50 * 16 * 42_527_232
