import numpy as np
import pytest
import torch

from lib.core.errors import UserError
from lib.envs.gym import custom, minigrid
from lib.envs.gym.batch import GymBatch
from tests.envs.gym.worlds import Counting, Forgetful

OURS = sorted({*minigrid.CONTINUAL, *minigrid.QUICK, *minigrid.SPECIAL})
STAY, PAID, END = torch.eye(3)


def counting(world: type = Counting, length: int = 7) -> GymBatch:
    return custom.custom_domain(world, episode_length=length).make(0)


def grid(name: str, length: int = 40) -> GymBatch:
    return GymBatch(minigrid.recipe(minigrid.resolve([name])[0], "symbols"), length)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_copy_begins_from_a_seed_of_its_own(generator):
    env = counting()
    obs = env.reset(5, generator)
    assert obs.shape == (5, 3) and obs.dtype == torch.float32
    assert len(set(obs[:, 1].tolist())) == 5
    again = counting().reset(5, draws())
    assert torch.equal(obs, again)


def test_steps_reach_every_copy_and_pay_it(generator):
    env = counting()
    env.reset(2, generator)
    obs, reward = env.step(torch.stack((PAID, STAY)))
    assert reward.tolist() == [1.0, 0.0] and reward.dtype == torch.float32
    assert obs[:, 0].tolist() == [1.0, 1.0]
    assert not env.ended.any() and env.cell is None


def test_a_copy_that_has_ended_waits_and_earns_nothing(generator):
    env = counting()
    env.reset(2, generator)
    obs, reward = env.step(torch.stack((END, STAY)))
    assert reward.tolist() == [5.0, 0.0]
    for flags in (env.ended, env.terminal, env.success):
        assert flags.tolist() == [True, False]
    later, reward = env.step(torch.stack((PAID, PAID)))
    assert torch.equal(later[0], obs[0]) and reward.tolist() == [0.0, 1.0]
    assert later[1, 0] == 2 and len(env._envs[0].done) == 1


def test_an_episode_that_is_cut_has_ended_but_is_not_terminal(generator):
    env = counting(length=3)
    env.reset(2, generator)
    for _ in range(2):
        env.step(torch.stack((STAY, PAID)))
    assert not env.ended.any()
    env.step(torch.stack((END, PAID)))  # the last decision of all may still end the task
    assert env.ended.tolist() == [True, True]
    assert env.terminal.tolist() == [True, False] and env.success.tolist() == [True, False]


def test_a_restart_leaves_the_other_copies_alone(generator):
    env, alone = counting(), counting()
    begun = env.reset(3, generator)
    alone.reset(3, draws())
    env.step(torch.stack((END, STAY, STAY)))
    expected = alone.step(torch.stack((STAY, STAY, STAY)))[0]
    obs = env.restart(env.ended, generator)
    assert torch.equal(obs[1:], expected[1:])
    assert obs[0, 0] == 0 and obs[0, 1] != begun[0, 1]
    assert not (env.ended | env.terminal | env.success).any()
    obs, reward = env.step(torch.stack((PAID, PAID, PAID)))
    assert torch.equal(obs[1:], alone.step(torch.stack((PAID, PAID, PAID)))[0][1:])
    assert obs[:, 0].tolist() == [1, 2, 2] and reward.tolist() == [1, 1, 1]


def test_a_restarted_episode_may_last_as_long_as_any(generator):
    env = counting(length=3)
    env.reset(2, generator)
    for _ in range(2):
        env.step(torch.stack((STAY, STAY)))
    env.restart(torch.tensor([True, False]), generator)
    env.step(torch.stack((STAY, STAY)))
    assert env.ended.tolist() == [False, True]
    for _ in range(2):
        env.step(torch.stack((STAY, STAY)))
    assert env.ended.all()


def test_the_generator_moves_on_by_as_much_whichever_copies_start_anew():
    after = []
    for chosen in ([True, False, False], [True, True, True], [False, False, False]):
        env, generator = counting(), draws()
        env.reset(3, generator)
        env.restart(torch.tensor(chosen), generator)
        after.append(torch.rand(1, generator=generator).item())
    assert len(set(after)) == 1


def test_flags_that_were_read_do_not_change_later(generator):
    env = counting()
    obs = env.reset(2, generator)
    ended, kept = env.ended, obs.clone()
    env.step(torch.stack((END, END)))
    assert not ended.any() and torch.equal(obs, kept)


def test_a_reset_forgets_the_previous_episode_and_may_change_the_number_of_copies(generator):
    env = counting()
    env.reset(3, generator)
    env.step(torch.stack((END, END, END)))
    dropped = env._envs[2]
    assert env.reset(2, generator)[:, 0].tolist() == [0, 0]
    assert dropped.closed and len(env.ended) == 2 and not env.ended.any()
    assert env.reset(5, generator).shape == (5, 3)


def test_actions_of_another_shape_are_refused(generator):
    env = counting()
    env.reset(2, generator)
    with pytest.raises(ValueError, match=r"actions \(2, 5\); counting steps with \(2, 3\)"):
        env.step(torch.zeros(2, 5))


def test_a_factory_that_hands_out_one_environment_twice_is_found(generator):
    single = Counting()
    env = custom.custom_domain(lambda: single).make(0)
    with pytest.raises(UserError, match="came twice as the same object"):
        env.reset(2, generator)


def test_poses_are_the_stored_observations(generator):
    env = grid("doorkey-5x5")
    obs = env.reset(2, generator)
    np.testing.assert_array_equal(env.pose(), obs.reshape(2, 147).numpy())


def played(env: GymBatch, n: int, steps: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Everything that happens in some random decisions, ended copies starting anew."""
    seen = []
    for _ in range(steps):
        obs, reward = env.step(env.actions.random(n, generator))
        seen += [obs, reward, env.ended, env.terminal, env.success]
        if env.cell is not None:
            seen.append(env.cell)
        if env.ended.any():
            seen.append(env.restart(env.ended, generator))
    return seen


@pytest.mark.parametrize("name", OURS)
def test_the_same_seed_gives_the_same_trajectory_in_every_task(name):
    runs = []
    for _ in range(2):
        env, generator = grid(name), draws()
        runs.append([env.reset(3, generator), *played(env, 3, 60, generator)])
    assert len(runs[0]) == len(runs[1])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("name", OURS)
def test_a_saved_episode_goes_on_as_if_nothing_had_happened(name):
    env, generator = grid(name), draws()
    env.reset(3, generator)
    played(env, 3, 55, generator)  # so that copies are in different decisions
    resumed = grid(name)
    resumed.load_state_dict(env.state_dict())
    assert torch.equal(resumed.ended, env.ended) and torch.equal(resumed.cell, env.cell)
    np.testing.assert_array_equal(resumed.pose(), env.pose())
    expected, found = played(env, 3, 60, draws(1)), played(resumed, 3, 60, draws(1))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_lane_that_has_ended_is_saved_as_such(generator):
    env, resumed = counting(), counting()
    env.reset(3, generator)
    env.step(torch.stack((STAY, END, PAID)))
    env.step(torch.stack((STAY, STAY, END)))
    state = env.state_dict()
    assert state["length"].tolist() == [2, 1, 2] and state["action"].shape == (3, 2, 3)
    resumed.load_state_dict(state)
    assert resumed.ended.tolist() == [False, True, True]
    assert all(torch.equal(state[name], found) for name, found in resumed.state_dict().items())


def test_nothing_may_be_saved_before_anything_began():
    env = counting()
    env.load_state_dict(counting().state_dict())
    assert env.reset(2, draws()).shape == (2, 3)


def test_an_environment_that_does_not_repeat_itself_is_told_of(generator):
    env = counting(Forgetful)
    env.reset(2, generator)
    env.step(torch.stack((STAY, STAY)))
    with pytest.raises(UserError, match="forgetful cannot be resumed: .*another 'obs'"):
        counting(Forgetful).load_state_dict(env.state_dict())


def test_a_state_whose_episode_ended_elsewhere_is_told_of(generator):
    env = counting()
    env.reset(2, generator)
    env.step(torch.stack((STAY, STAY)))
    state = env.state_dict()
    state["ended"][1] = True
    with pytest.raises(UserError, match="another 'ended'"):
        counting().load_state_dict(state)
