"""A new task of a body is one function and one row."""

import gymnasium
import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="needs mujoco and dm_control")
pytest.importorskip("dm_control", reason="needs mujoco and dm_control")

from lib.envs import worlds
from lib.envs.control import suite
from lib.envs.control.rewards import below, beyond
from lib.envs.control.tasks import TASKS, ControlTask
from lib.experiments import run_config


def cheetah_crouch(motion):
    """Run with the torso low."""
    return (below(motion.height("torso"), 0.5, 0.25) + beyond(motion.speed(), 5.0, 5.0)) / 2


@pytest.fixture(autouse=True)
def row(monkeypatch):
    monkeypatch.setitem(
        TASKS, "cheetah-crouch", ControlTask("cheetah-crouch", "cheetah", cheetah_crouch)
    )


def test_it_is_a_task_of_a_run_alone_and_after_another():
    run = run_config.resolve({"preset": "cheetah-quick", "tasks": ["crouch", "jump2crouch"]})
    world = worlds.build(run.env, run.tasks)
    assert [task.name for task in world.tasks] == ["cheetah-crouch", "cheetah-jump2crouch"]
    env, draws = world.make(0), torch.Generator().manual_seed(0)
    env.reset(3, draws)
    _, reward = env.step(env.actions.random(3, draws))
    motion = env.body.planar.motion(*env.state())
    assert reward.shape == (3,) and (cheetah_crouch(motion) > 0).all() and (reward > 0).all()


def test_dm_control_and_gymnasium_offer_it_and_pay_the_same():
    theirs, ours = suite.load("cheetah-crouch", seed=11), None
    assert "Workbook/CheetahCrouch-v0" in suite.register_gymnasium()
    try:
        ours = gymnasium.make("Workbook/CheetahCrouch-v0")
        theirs.reset(), ours.reset(seed=0)
        batch = ours.unwrapped._batch
        batch.set_state(theirs.physics.data.qpos[None], theirs.physics.data.qvel[None])
        for _ in range(20):
            action = np.full(6, 0.5, np.float32)
            paid = ours.step(action)[1]
            assert paid == pytest.approx(theirs.step(action).reward, abs=1e-6) and 0 < paid <= 1
    finally:
        del gymnasium.registry["Workbook/CheetahCrouch-v0"]
