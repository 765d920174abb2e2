"""A Dreamer that learns from dm_control's pixels, whole and interrupted."""

import pytest

from lib.envs.pixels.batch import PixelBatch
from lib.envs.pixels.domain import PixelDomain
from lib.runner import training
from tests.dreamer_tiny import tiny
from tests.run_folders import assert_same_run, summary

SETTINGS = {
    "env__domain": "dmc",
    "env__observation": "pixels",
    "env__background": "procedural:natural",
    "env__render_quality": "fast",
    "budget__env_steps_per_task": 44,
    "budget__eval_every": 22,
    "tasks": ["walker_run", "walker_stand"],
}


class Killed(BaseException):
    """What nothing on the way may catch."""


def test_a_run_that_was_killed_ends_as_if_nothing_had_happened(dm_control, tmp_path, monkeypatch):
    cfg = tiny(**SETTINGS)
    how = {"tensorboard": False, "progress": False}
    training.train(cfg, tmp_path / "whole", **how)
    assert summary(tmp_path / "whole")["env_steps"] == 88
    original, calls = PixelBatch.step, []

    def step(self, *arguments):
        calls.append(1)
        if len(calls) == 58:  # within an episode of the second task
            raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(PixelBatch, "step", step)
    with pytest.raises(Killed):
        training.train(cfg, tmp_path / "killed", **how)
    resumed, load = [], PixelBatch.load_state_dict
    monkeypatch.setattr(
        PixelBatch, "load_state_dict", lambda self, state: resumed.append(1) or load(self, state)
    )
    training.train(cfg, tmp_path / "killed", **how)
    assert resumed == [1]  # went on within the episodes
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_evaluations_show_clips_that_training_never_does(dm_control, tmp_path, monkeypatch):
    make, asked = PixelDomain._make, []
    monkeypatch.setattr(
        PixelDomain,
        "_make",
        lambda self, task, split: asked.append(split) or make(self, task, split),
    )
    cfg = tiny(**SETTINGS | {"tasks": ["walker_run"]})
    training.train(cfg, tmp_path / "run", tensorboard=False, progress=False)
    # collected before one split; looked at three times and once more at the end before the other
    assert asked.count("train") == 1 and asked.count("test") == 4
