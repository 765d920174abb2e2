import numpy as np
import pytest
import torch

from lib.core.config import EnvConfig
from lib.core.errors import UserError
from lib.envs.gym.domain import GymDomain
from lib.envs.worlds import build, resolve

T, A = 11, 7


def domain(*names: str, **more) -> GymDomain:
    settings = {"domain": "minigrid", "observation": "pixels", "episode_length": T, **more}
    return build(EnvConfig(**settings), names or ("doorkey-5x5", "lavagap-s5"))


def test_a_domain_carries_what_the_learner_asks_for():
    ours = domain()
    assert (ours.obs_space.kind, ours.obs_space.shape) == ("image", (7, 7, 3))
    assert (ours.obs_dim, ours.actions.size, ours.actions.discrete) == (147, A, True)
    assert (ours.episode_length, ours.action_repeat, ours.grid_size) == (T, 1, None)
    assert [(task.name, task.after) for task in ours.tasks] == [
        ("doorkey-5x5", ""),
        ("lavagap-s5", ""),
    ]
    assert (ours.optimum(1), ours.exact_optimum) == (1.0, False)


def test_each_task_makes_its_own_environments(generator):
    ours = domain()
    for index, width in enumerate((5, 5)):
        env = ours.make(index)
        assert env.reset(2, generator).shape == (2, 7, 7, 3)
        assert env._envs[0].unwrapped.width == width
        assert env.recipe.name == ours.tasks[index].name


def test_symbols_are_stored_alike_but_not_drawn_for_the_learner():
    space = domain(observation="symbols").obs_space
    assert (space.kind, space.shape, space.classes) == ("symbols", (7, 7, 3), (11, 6, 3))
    assert space.draw is None and space.dtype == torch.uint8


@pytest.mark.parametrize("observation", ["pixels", "symbols"])
def test_what_the_agent_sees_can_be_drawn(observation, generator):
    ours = domain(observation=observation)
    env = ours.make(0)
    env.reset(1, generator)
    assert ours.scene(0).frame(env.pose()[0]).max() > 0


def test_poses_are_observations_laid_flat_the_first_as_given():
    obs = torch.randint(3, (5, 7, 7, 3), dtype=torch.uint8)
    pose = domain().pose_of(obs, np.full(147, 9))
    assert pose.shape == (5, 147) and (pose[0] == 9).all()
    np.testing.assert_array_equal(pose[1:], obs[1:].reshape(4, 147).numpy())


def test_four_episodes_are_held_out_in_place_of_those_before():
    ours = domain()
    held_out = ours.new_held_out()
    assert held_out["obs"].shape == (2, 4, T + 1, 7, 7, 3) and held_out["obs"].dtype == torch.uint8
    assert not held_out["length"].any()
    ours.record(held_out, 0, torch.ones(2, 3, 147), torch.ones(2, 3, A))
    obs = torch.arange(1, 7, dtype=torch.uint8)[:, None, None, None, None].expand(6, 6, 7, 7, 3)
    action, reward = torch.full((6, 5, A), 0.5), torch.full((6, 5), 2.0)
    ours.hold_out(held_out, 1, obs, action, reward, torch.tensor([5, 4, 3, 2, 1, 5]))
    assert held_out["obs"][1, :, 5, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert held_out["length"].tolist() == [[0, 0, 0, 0], [5, 4, 3, 2]]
    assert held_out["reward"][1].sum() == 4 * 5 * 2 and held_out["action"][1].sum() == 4 * 5 * A / 2
    assert not any(part[0].any() for part in held_out.values())
    ours.hold_out(held_out, 1, obs[4:], action[:2])
    assert held_out["length"][1].tolist() == [5, 5, 0, 0]
    assert held_out["obs"][1, :, 0, 0, 0, 0].tolist() == [5, 6, 0, 0]
    assert not held_out["reward"].any()


def test_tasks_that_differ_in_what_is_done_are_refused_by_name():
    with pytest.raises(
        UserError,
        match="'doorkey-5x5' has an image of 7x7x3 and 7 discrete.*"
        "'dynamic-obstacles-5x5' an image of 7x7x3 and 3 discrete actions",
    ):
        domain("doorkey-5x5", "dynamic-obstacles-5x5")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action_repeat": 2}, "set env.action_repeat=1 for minigrid"),
        ({"observation": "state"}, "unknown observation of minigrid 'state'"),
        ({"episode_length": 0}, "use 1 or more"),
    ],
)
def test_settings_that_make_no_stream_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        domain(**settings)


def test_registered_environments_make_a_stream_too(generator):
    entries = ["CartPole-v1", {"id": "CartPole-v1", "name": "other"}]
    env = EnvConfig(domain="gymnasium", observation="state", episode_length=T)
    assert [task.name for task in resolve(env, entries)] == ["cartpole-v1", "other"]
    ours = build(env, entries)
    assert ours.optimum(0) is None and ours.episode_length == T
    assert ours.make(1).reset(3, generator).shape == (3, 4)
    with pytest.raises(UserError, match="a vector, which cannot be drawn"):
        ours.scene(0)
