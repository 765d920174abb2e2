"""A Dreamer that learns from several pendulums in turn, whole and interrupted."""

import signal

import pytest

from lib.core import config
from lib.envs.turns import TurnsBatch
from lib.runner import training
from lib.runner.record import describe, read_metrics
from tests import dreamer_killing, killing
from tests.dreamer_tiny import tiny
from tests.run_folders import assert_same_run, summary

SOURCES = {"name": "sources", "turns": ["source-a", "source-b"]}
SETTINGS = {
    "env__domain": "pendulum",
    "env__observation": "state",
    "env__episode_length": 12,
    "env__action_repeat": 2,
    "env__mask_padding": True,
    "budget__eval_tasks": "current",
    "tasks": [SOURCES, "target"],
}
STEPS = 88  # env steps of each task; two copies, so that each makes 22 decisions


@pytest.fixture(scope="module")
def cfg():
    return tiny(**SETTINGS)


@pytest.fixture(scope="module")
def done(cfg, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    training.train(cfg, out, tensorboard=False, progress=False)
    return out


def values(out, stage):
    return [
        record["values"]
        for record in read_metrics(out / "metrics.jsonl")
        if record["stage"] == stage
    ]


def test_a_mixture_has_one_budget_one_curve_and_one_row_of_results(done):
    told = summary(done)
    assert told["env_steps"] == 2 * STEPS and list(told["final_return"]) == ["sources", "target"]
    assert [record["task"] for record in read_metrics(done / "metrics.jsonl")][-1] == "target"


def test_every_constituent_is_evaluated_and_the_mixture_is_their_mean(done):
    evaluated, looked_at = values(done, "eval"), values(done, "monitor")
    assert len(looked_at) == 3  # at 0, 44 and 88 env steps of the mixture
    for whole, each in zip(
        [v for v in evaluated if "eval/sources/return" in v], looked_at, strict=True
    ):
        parts = [each[f"monitor/{name}/return"] for name in SOURCES["turns"]]
        assert whole["eval/sources/return"] == pytest.approx(sum(parts) / 2, rel=1e-5)
        assert parts[0] != parts[1] and all(describe(name).unit for name in each)


def test_steps_and_episodes_are_counted_together_and_apart(done):
    records = [r for r in read_metrics(done / "metrics.jsonl") if r["stage"] == "train"]
    last = [r for r in records if r["task"] == "sources"][-1]
    played = {name: value for name, value in last["values"].items() if "/turns/" in name}
    # Two copies make 22 decisions each: a, b and a of 6 in full, and 4 of the next; the other
    # copy begins with b.
    assert played == {
        "train/turns/episodes": 6,
        "train/turns/source-a/episodes": 3,
        "train/turns/source-b/episodes": 3,
        "train/turns/source-a/env_steps": 2 * (6 + 6 + 6 + 4),
        "train/turns/source-b/env_steps": 2 * (6 + 4 + 6 + 6),
    }
    assert sum(v for name, v in played.items() if "env_steps" in name) == last["task_env_steps"]
    assert all(describe(name).meaning for name in played)
    assert not any(
        "/turns/" in name for r in records if r["task"] == "target" for name in r["values"]
    )


def test_a_run_killed_within_episodes_ends_up_the_same(done, cfg, tmp_path):
    for number in (9, 15):  # of the steps of mixtures, evaluations too
        child = killing.processes().Process(
            target=dreamer_killing.train,
            args=(config.to_dict(cfg), str(tmp_path), number, (), TurnsBatch),
        )
        child.start()
        child.join(killing.PATIENCE)
        assert child.exitcode == -signal.SIGKILL
    loaded, original = [], TurnsBatch.load_state_dict
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            TurnsBatch,
            "load_state_dict",
            lambda self, state: loaded.append(1) or original(self, state),
        )
        training.train(cfg, tmp_path, tensorboard=False, progress=False)
    assert loaded == [1]  # went on within the episodes
    assert_same_run(done, tmp_path)


def test_several_seeds_take_turns_side_by_side(done, cfg, tmp_path):
    cfgs = [cfg, config.merge(cfg, {"seed": 1})]
    folders = [tmp_path / "0", tmp_path / "1"]
    training.train_seeds(cfgs, folders, tmp_path, tensorboard=False, progress=False)
    mine, alone = (values(out, "eval") for out in (folders[0], done))
    for one, other in zip(mine, alone, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
