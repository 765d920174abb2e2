import importlib.util

import numpy as np
import pytest
import torch

from lib.core.config import EnvConfig, merge
from lib.core.errors import UserError
from lib.envs import api, worlds
from lib.envs.metaworld.expert import GRIPPER, Expert
from lib.experiments.makers import MAKERS, Recipe

SMALL = {"domain": "metaworld", "episode_length": 7}


def env(**changes) -> EnvConfig:
    return merge(EnvConfig(), SMALL | changes)


def test_a_stream_is_known_without_meta_world(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [task.name for task in worlds.resolve(env(), ["push-v3"])] == ["push"]
    with pytest.raises(UserError, match=r"not installed.*\[metaworld\]"):
        worlds.build(env(), ["push"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"action_repeat": 2}, "env.action_repeat 2: a step of the robot arm is a decision"),
        ({"episode_length": 501}, "env.episode_length 501 is more than the 500 steps"),
        ({"min_actions": 6}, "env.min_actions 6: the tasks of metaworld are not padded"),
    ],
)
def test_settings_that_make_no_world_are_refused(changes, told):
    with pytest.raises(UserError, match=told) as error:
        worlds.resolve(env(**changes), ["push"])
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="unknown value for 'reward_version' 'v3'"):
        env(reward_version="v3")


def test_episodes_last_as_long_as_is_asked_and_succeed_step_by_step(metaworld, generator):
    world = worlds.build(env(), ["reach"])
    made = world.make(0)
    assert made.reset(3, generator).shape == (3, 39) and not made.success.any()
    for _ in range(7):
        assert not made.ended.any()
        _, reward = made.step(world.actions.random(3, generator))
    assert made.ended.all() and not made.terminal.any() and reward.shape == (3,)
    made._envs[1].solved = True
    assert made.success.tolist() == [False, True, False]
    made._envs[1].solved = False
    assert not made.success.any(), "of the step just made, not of any before"


def test_evaluation_starts_where_training_never_does(metaworld, generator):
    world = worlds.build(env(), ["reach"])
    trains, evaluates = world.make(0), world.make_for_evaluation(0)
    assert not set(map(tuple, trains.reset(5, generator).tolist())) & set(
        map(tuple, evaluates.reset(5, generator.manual_seed(0)).tolist())
    )
    assert (trains._seed % 2 == 0).all() and (evaluates._seed % 2 == 1).all()


def test_a_task_has_one_file_however_it_is_called(metaworld):
    world = worlds.build(
        env(), ["reach", "reach-again", {"name": "all", "turns": ["push", "hammer"]}]
    )
    named = [[part.name for part in api.data_parts(world, task)] for task in range(3)]
    assert named == [["reach"], ["reach"], ["push", "hammer"]]


def test_episodes_go_on_from_a_saved_state(metaworld, generator):
    world = worlds.build(env(), ["door-close"])
    made, other = world.make(0), world.make(0)
    made.reset(2, generator)
    made.step(world.actions.random(2, generator))
    other.load_state_dict({name: part.clone() for name, part in made.state_dict().items()})
    action = world.actions.random(2, generator)
    for mine, theirs in zip(made.step(action), other.step(action), strict=True):
        assert torch.equal(mine, theirs)


def test_an_expert_holds_still_and_keeps_its_grip_once_it_has_succeeded(metaworld):
    expert, goes_on = Expert("pick-place"), Expert("pick-place", holds=False)
    draws = np.random.default_rng(0)
    obs, last = draws.normal(size=(2, 39)), draws.uniform(-1, 1, (2, 4))
    solved = np.array([True, False])
    found = expert.act(obs, last, solved)
    assert found[0].tolist() == [0, 0, 0, np.float32(last[0, GRIPPER])]
    assert np.abs(found).max() <= 1 and found[1].any()
    assert np.array_equal(goes_on.act(obs, last, solved)[1], found[1])
    assert not np.array_equal(goes_on.act(obs, last, solved)[0], found[0])


@pytest.mark.slow
def test_experts_of_the_ten_papers_tasks_succeed_and_stay(metaworld):
    from lib.algos.decision_transformer.presets import CW10

    maker, draws, shares = MAKERS["metaworld"](), torch.Generator().manual_seed(0), []
    for task in CW10:
        played = maker.play(task, 0.0, 10, draws, Recipe())
        shares.append((played.reached.float().mean(), played.success.float().mean()))
    anywhere, last = torch.tensor(shares).mean(0)
    assert float(anywhere) >= 0.9 and float(last) >= 0.8


def test_noise_and_chance_are_what_a_file_says(metaworld):
    # The first second of an episode: nobody has succeeded, so that all of the noise is seen.
    maker = MAKERS["metaworld"]()
    still, shaken, chance = (
        maker.play("reach", noise, 2, torch.Generator().manual_seed(1), Recipe())
        for noise in (0.0, 0.3, None)
    )
    assert torch.equal(still.obs[:, 0], shaken.obs[:, 0]) and shaken.reward.shape == (2, 200)
    assert shaken.action.abs().max() <= 1
    assert still.reached.all()
    assert float(chance.reward.sum(1).mean()) < float(still.reward.sum(1).mean())
