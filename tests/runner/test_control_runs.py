"""Whole runs on the cheetah, tiny: what is counted, what is held out, what broken physics do."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.algos.tdmpc.presets import METHODS
from lib.core.errors import NonFiniteError, RunInterrupted
from lib.envs.control.batch import ControlBatch
from lib.runner import checkpoint, evaluate, training
from lib.runner.record import describe, read_metrics
from tests.tiny import control, same

STEPS = 84 * 4  # env steps of a task; 12 episodes of 7 decisions


def train(cfg, out: Path, **kwargs) -> Path:
    return training.train(cfg, out, tensorboard=False, progress=False, **kwargs)


@pytest.fixture(scope="module")
def cfg():
    return control("drago")


@pytest.fixture(scope="module")
def done(cfg, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(cfg, out)
    return out


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


def test_env_steps_count_the_action_repeat_and_decisions_do_not(done):
    told = summary(done)
    assert told["env_steps"] == 2 * STEPS and told["decisions"] == 2 * 84
    assert told["optimum"] == {"cheetah-run": 28.0, "cheetah-run-backwards": 28.0}
    assert told["optimum_is"] == "ceiling" and told["dropped_episodes"] == 0
    steps = [
        row["task_env_steps"]
        for row in read_metrics(done / "metrics.jsonl")
        if row["task_index"] == 0
    ]
    assert max(steps) == STEPS and all(step % 28 == 0 for step in steps)
    curve = told["curves"]["cheetah-run"]["task_env_steps"]
    assert curve == [0, 112, 224, 336]


def test_half_of_a_reviewed_tasks_steps_are_the_learners(done):
    # 84 decisions a task, one update for each of the learner's; the 14 of warm-up count as well
    assert summary(done)["updates"] == 84 + 84 // 2


def test_every_logged_number_is_explained(done):
    names = {name for row in read_metrics(done / "metrics.jsonl") for name in row["values"]}
    assert all(describe(name) for name in names)
    assert "audit/met-cheetah-run/mse" in names


def test_earlier_tasks_are_audited_on_what_was_held_out_then(done):
    rows = [row["values"] for row in read_metrics(done / "metrics.jsonl")]
    first, second = (row for row in rows if "audit/met-cheetah-run/mse" in row)
    assert [key for key in first if key.endswith("/mse")] == ["audit/met-cheetah-run/mse"]
    assert second["audit/met-cheetah-run/count"] == first["audit/met-cheetah-run/count"] == 21
    assert second["audit/met-cheetah-run/mse"] != first["audit/met-cheetah-run/mse"]


def played(monkeypatch, then) -> list:
    """Calls `then(count, env)` after every batch of episodes; returns the counter."""
    count = [0]

    def counted(real):
        def play(agent, env, *args, **kwargs):
            episodes = real(agent, env, *args, **kwargs)
            for one in env if isinstance(env, list) else [env]:
                count[0] += 1
                then(count[0], one)
            return episodes

        return play

    monkeypatch.setattr(evaluate, "play_batch", counted(evaluate.play_batch))
    return count


@pytest.mark.parametrize("stop_after", [3, 11])
def test_an_interrupted_run_ends_up_the_same(cfg, done, tmp_path, monkeypatch, stop_after):
    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        played(patch, lambda count, env: count == stop_after and (out / "stop").touch())
        with pytest.raises(RunInterrupted):
            train(cfg, out)
    train(cfg, out)
    assert (out / "metrics.jsonl").read_bytes() == (done / "metrics.jsonl").read_bytes()
    one, other = (checkpoint.load(o / "checkpoints" / "task-2.safetensors")[0] for o in (out, done))
    assert not same(one, other)


def test_episodes_whose_physics_break_are_played_again_and_counted(tmp_path, monkeypatch):
    cfg = control("tdmpc", tasks=["cheetah-run"])

    def spoil(count: int, env: ControlBatch) -> None:
        if count in (2, 3, 5):  # the first one is an evaluation, the third a repetition
            env._broken[0] = True

    played(monkeypatch, spoil)
    train(cfg, tmp_path)
    told = summary(tmp_path)
    assert told["dropped_episodes"] == 3 and told["env_steps"] == STEPS
    assert told["curves"]["cheetah-run"]["task_env_steps"] == [0, 112, 224, 336]
    state, _ = checkpoint.load(tmp_path / "checkpoints" / "last.safetensors")
    stored = state["agent"]["learner"]["buffer"]["obs"]
    assert torch.isfinite(stored).all() and len({tuple(row[0].tolist()) for row in stored}) == 12


def test_broken_episodes_of_an_evaluation_are_left_out(tmp_path, monkeypatch):
    cfg = control("tdmpc", tasks=["cheetah-run"])
    played(monkeypatch, lambda count, env: count == 1 and env._broken.__setitem__(0, True))
    train(cfg, tmp_path)
    told = summary(tmp_path)
    assert told["dropped_episodes"] == 1 and told["env_steps"] == STEPS


@pytest.mark.parametrize(("from_call", "where"), [(1, "every evaluation"), (2, "in a row")])
def test_a_world_that_only_breaks_ends_the_run(tmp_path, monkeypatch, from_call, where):
    def spoil(count: int, env: ControlBatch) -> None:
        if count >= from_call:
            env._broken[:] = True

    played(monkeypatch, spoil)
    with pytest.raises(NonFiniteError, match=f"physics of 'cheetah-run' broke in .*{where}"):
        train(control("tdmpc", tasks=["cheetah-run"]), tmp_path)


@pytest.mark.parametrize("domain", ["cheetah", "walker"])
@pytest.mark.parametrize("bonus", ["bounded", "legacy", "coin-flip", "none"])
def test_every_count_bonus_runs_on_continuous_states(tmp_path, domain, bonus):
    out = tmp_path / "run"
    cfg = control("drago", domain, reviewer__count_bonus=bonus, budget__env_steps_per_task=112)
    train(cfg, out)
    rows = read_metrics(out / "metrics.jsonl")
    assert all(math.isfinite(v) for row in rows for v in row["values"].values() if v is not None)
    held = np.load(out / "audits" / "task-2.npz")
    assert np.isfinite(held["eval_obs_1"]).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_on_a_body(tmp_path, method):
    tasks = ["cheetah-run", "cheetah-jump", "cheetah-run-backwards"]
    cfg = control(method, tasks=tasks, budget__env_steps_per_task=112, budget__eval_episodes=1)
    train(cfg, tmp_path)
    told = summary(tmp_path)
    assert told["status"] == "complete" and np.isfinite(told["return_matrix"][2]).all()
    errors = [told["audit"][2][f"audit/met-{task}/mse"] for task in tasks]
    assert np.isfinite(errors).all()
