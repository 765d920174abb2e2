import importlib.util

import pytest
import torch

from lib.core.config import EnvConfig, merge
from lib.core.errors import UserError
from lib.envs import api, worlds
from lib.envs.bullet.tasks import TASKS
from lib.envs.turns import TurnsBatch
from lib.runner import training
from tests.dreamer_tiny import tiny
from tests.run_folders import assert_same_run

SMALL = {"domain": "bullet", "observation": "state", "episode_length": 1000, "action_repeat": 2}
# Return and decisions of random actions: mean and deviation, mean and largest. Measured with
# pybullet 3.2.7 and pybullet_envs_gymnasium 0.6.0, a random policy, two env steps a decision.
RANDOM = {
    "Hopper": (18.7, 3.2, 11),
    "Walker2D": (15.1, 3.0, 13),
    "HalfCheetah": (-1087, 118, 500),
    "Ant": (341, 158, 500),
    "InvertedPendulum": (21.9, 10.2, 24),
    "InvertedDoublePendulum": (289, 74, 24),
    "InvertedPendulumSwingup": (-869, 40, 500),
}


def env(**changes) -> EnvConfig:
    return merge(EnvConfig(), SMALL | changes)


def test_a_stream_is_known_without_pybullet():
    assert [task.name for task in worlds.resolve(env(), ["AntBulletEnv-v0", "Hopper"])] == [
        "Ant",
        "Hopper",
    ]
    with pytest.raises(UserError, match="ignore_termination: task 'InvertedPendulum' pays 1"):
        worlds.resolve(env(ignore_termination=True), ["InvertedPendulum"])
    with pytest.raises(UserError, match="env.min_actions 2 is too small: task 'Hopper' has 3"):
        worlds.resolve(env(min_actions=2), ["Hopper"])
    with pytest.raises(UserError, match="unknown value for 'look_at' 'head'"):
        env(look_at="head")


def test_without_pybullet_building_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed .*\[pybullet\]"):
        worlds.build(env(), ["Hopper"])


def test_numbers_are_padded_to_those_of_the_ant_and_actions_to_the_streams(bullet, generator):
    world = worlds.build(env(min_actions=8), ["Hopper", "Walker2D"])
    assert world.obs_space.shape == (28,) and world.actions.size == 8
    assert (world.episode_length, world.action_repeat) == (500, 2)
    made = world.make(0)
    seen = made.reset(3, generator)
    assert seen.shape == (3, 28) and not seen[:, 15:].any() and seen[:, :8].any()
    assert worlds.build(env(), ["Hopper", "Walker2D"]).actions.size == 6
    assert world.optimum(0) is None


def test_pictures_are_drawn_as_the_agent_sees_them(bullet, generator):
    world = worlds.build(env(observation="pixels", image_size=32), ["HalfCheetah"])
    assert api.spaces(world, 0)[0].shape == (32, 32, 3)
    made = world.make(0)
    seen = made.reset(1, generator)
    assert (world.scene(0).frame(made.pose()[0])[::4, ::4] == seen[0].numpy()).all()


@pytest.mark.parametrize("name", TASKS)
def test_random_actions_earn_what_was_measured_and_equal_seeds_the_same(bullet, name):
    mean, spread, longest = RANDOM[name]
    world = worlds.build(env(), [name])
    episodes = 2 if longest == 500 else 11
    told = []
    for _ in range(2):
        made, draws = world.make(0), torch.Generator().manual_seed(5)
        made.reset(episodes, draws)
        total, decisions = torch.zeros(episodes), torch.zeros(episodes)
        while not made.ended.all():
            decisions += ~made.ended
            total += made.step(world.actions.random(episodes, draws))[1]
        told.append(total)
        made.close()
    assert abs(float(told[0].mean()) - mean) < 3 * spread
    assert decisions.max() <= 1.5 * longest
    assert torch.equal(*told)


@pytest.mark.parametrize("observation", ["state", "pixels"])
def test_episodes_go_on_from_a_saved_state(bullet, observation, generator):
    world = worlds.build(env(observation=observation, image_size=32), ["Hopper", "Ant"])
    made, other = world.make(1), world.make(1)
    made.reset(2, generator)
    for _ in range(3):
        made.step(world.actions.random(2, generator))
    other.load_state_dict({name: part.clone() for name, part in made.state_dict().items()})
    for _ in range(3):
        action = world.actions.random(2, generator)
        for mine, theirs in zip(made.step(action), other.step(action), strict=True):
            assert torch.equal(mine, theirs)


class Killed(BaseException):
    """What nothing on the way may catch."""


def test_a_dreamer_of_bodies_in_turn_goes_on_after_a_kill(bullet, tmp_path, monkeypatch):
    cfg = tiny(
        env__domain="bullet",
        env__observation="pixels",
        env__image_size=32,
        env__episode_length=12,
        env__action_repeat=2,
        budget__env_steps_per_task=44,
        tasks=[{"name": "sources", "turns": ["Ant", "Hopper"]}, "HalfCheetah"],
    )
    how = {"tensorboard": False, "progress": False}
    training.train(cfg, tmp_path / "whole", **how)
    original, calls = TurnsBatch.step, []

    def step(self, action, only=None):
        calls.append(1)
        if len(calls) == 15:  # within an episode, after the first evaluation
            raise Killed
        return original(self, action, only)

    monkeypatch.setattr(TurnsBatch, "step", step)
    with pytest.raises(Killed):
        training.train(cfg, tmp_path / "killed", **how)
    training.train(cfg, tmp_path / "killed", **how)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
