import numpy as np
import pytest
import torch

from lib.core.config import EnvConfig, merge
from lib.core.errors import UserError
from lib.envs import api, worlds

SMALL = {"domain": "pendulum", "episode_length": 12, "action_repeat": 2}


def env(**changes) -> EnvConfig:
    return merge(EnvConfig(), SMALL | changes)


def test_a_stream_tells_what_the_runner_asks():
    world = worlds.build(env(), ["target", {"name": "light", "g": 2}])
    assert [task.name for task in world.tasks] == ["target", "light"]
    assert (world.episode_length, world.action_repeat, world.obs_dim) == (6, 2, 3)
    assert world.obs_space.kind == "vector" and world.actions.size == 1
    assert world.optimum(0) == 6 and not world.exact_optimum and world.grid_size is None
    assert world.make(1).task.g == 2


def test_the_best_return_is_that_of_resting_at_the_goal():
    world = worlds.build(env(), ["source-a"])
    made = world.make(0)
    made.reset(1, torch.Generator())
    made.load_state_dict(made.state_dict() | {"state": torch.zeros(1, 2)})
    paid = sum(float(made.step(torch.zeros(1, 1))[1]) for _ in range(6))
    assert paid == pytest.approx(world.optimum(0))


def test_pixels_are_pictures_of_the_size_that_is_set(generator):
    world = worlds.build(env(observation="pixels", image_size=32), ["target"])
    assert world.obs_space.shape == (32, 32, 3) and world.obs_space.dtype == torch.uint8
    assert api.spaces(world, 0)[0].shape == (32, 32, 3)
    assert world.make(0).reset(2, generator).shape == (2, 32, 32, 3)
    with pytest.raises(UserError, match="not read from pictures"):
        world.pose_of(torch.zeros(3, 32, 32, 3), np.zeros(1))


def test_what_a_pendulum_shows_is_enough_to_draw_it(generator):
    world = worlds.build(env(), ["target"])
    made = world.make(0)
    obs, poses = [made.reset(1, generator)[0]], [made.pose()[0]]
    for _ in range(6):
        obs.append(made.step(torch.ones(1, 1))[0][0])
        poses.append(made.pose()[0])
    off = world.pose_of(torch.stack(obs), poses[0]) - np.array(poses)
    assert np.abs(np.angle(np.exp(1j * off))).max() < 1e-5 and off[0] == 0
    assert world.scene(0).frame(poses[3]).shape == (256, 256, 3)


def test_an_episode_that_would_end_within_a_decision_is_refused():
    with pytest.raises(UserError, match="multiple of action_repeat"):
        worlds.resolve(env(episode_length=13), ["target"])
