import numpy as np
import pytest
import torch

from lib.core.distributions import one_hot
from lib.core.errors import UserError
from lib.envs.grid.env import REWARDS, FourRooms
from lib.envs.grid.rooms import CONTINUAL, LISTED_TASKS, named_tasks, open_cells, place_blocks
from lib.envs.grid.table import GridBatch, GridTable


@pytest.mark.parametrize("kind", REWARDS)
@pytest.mark.parametrize("name", ["room-1", "room-4"])
def test_every_transition_of_the_table_is_that_of_the_real_environment(full_table, name, kind):
    task = LISTED_TASKS[name]
    env = FourRooms(start=task.start, goal=task.goal, reward=kind)
    env.reset(seed=0)
    observed, paid = [], []
    for x, y in full_table.cells.tolist():
        for heading in range(4):
            for action in range(3):
                env.put_agent((x, y), heading)
                obs, reward, *_ = env.step(action)
                observed.append(obs)
                paid.append(reward)
    assert len(paid) == 561 * 4 * 3
    assert np.array_equal(full_table.obs[full_table.next_state.flatten()], np.stack(observed))
    assert np.array_equal(full_table.reward(task, kind).flatten(), np.float32(paid))


@pytest.mark.parametrize("kind", REWARDS)
@pytest.mark.parametrize("name", LISTED_TASKS)
def test_whole_episodes_of_the_batch_are_those_of_the_real_environment(small_table, name, kind):
    task, copies, steps = named_tasks(13)[name], 5, 53
    generator = torch.Generator().manual_seed(1)
    batch = GridBatch(small_table, task, kind, steps)
    first = batch.reset(copies, generator)
    action = torch.stack([batch.actions.random(copies, generator) for _ in range(steps)])
    played = [batch.step(action[step]) for step in range(steps)]
    obs = torch.stack([first, *(obs for obs, _ in played)]).numpy()  # (steps + 1, copies, 3)
    reward = torch.stack([reward for _, reward in played]).numpy()  # (steps, copies)
    env = FourRooms(13, task.start, task.goal, reward=kind, max_steps=steps)
    for copy in range(copies):
        env.reset(seed=0)
        env.put_agent(task.start, round(2 * (first[copy, 2].item() + 1)))
        assert np.array_equal(env.gen_obs(), obs[0, copy])
        for step in range(steps):
            seen, paid, _, truncated, _ = env.step(int(action[step, copy].argmax()))
            assert np.array_equal(seen, obs[step + 1, copy])
            assert np.float32(paid) == reward[step, copy]
        assert truncated


def test_the_table_holds_the_ground_plan_for_pictures(full_table):
    cells = {tuple(cell) for cell in full_table.cells.tolist()}
    assert len(cells) == 561 and cells == open_cells(27) - set(place_blocks(27))
    assert full_table.states == 561 * 4 and full_table.blocks == place_blocks(27)
    assert full_table.walls.shape == (27, 27) and full_table.walls.dtype == bool
    assert full_table.walls.sum() == 27 * 27 - 561 - 20
    assert full_table.walls[5, 13] and not full_table.walls[12, 13]  # [y, x]


def test_states_are_numbered_by_cell_and_heading(full_table):
    assert full_table.state_of(1, 1, 0) == 0
    assert full_table.state_of(2, 1, 3) == 7
    state = full_table.state_of(8, 12, 2)
    assert full_table.cells[state // 4].tolist() == [8, 12] and state % 4 == 2
    assert full_table.room[state] == 1


@pytest.mark.parametrize("place", [(0, 0, 0), (6, 6, 1), (27, 1, 0), (1, -1, 0), (1, 1, 4)])
def test_a_state_that_nobody_can_be_in_is_refused(full_table, place):
    with pytest.raises(UserError, match=r"no state at x=.* free cells"):
        full_table.state_of(*place)


@pytest.mark.parametrize("size", [9, 13, 27])
def test_every_observation_is_nearest_to_its_own_state(size):
    table = GridTable.build(size)
    states = torch.arange(table.states)
    assert torch.equal(table.nearest(table.obs), states)
    slack = torch.tensor([0.9 / size, -0.9 / size, 0.2])  # just under half a cell, half a turn
    assert torch.equal(table.nearest(table.obs + slack), states)
    assert torch.equal(table.nearest(table.obs - slack), states)


def test_observations_off_the_grid_are_nearest_to_no_state(full_table):
    odd = torch.tensor(
        [[3.0, 0.0, 0.0], [-1.0, -1.0, 0.0], [-1 / 27, -17 / 27, 0.0]]
    )  # outside, the corner (0, 0), the wall at (13, 5)
    assert full_table.nearest(odd).tolist() == [-1, -1, -1]
    bad = full_table.obs[:3].clone()
    bad[0, 0], bad[1, 1], bad[2, 2] = float("nan"), float("inf"), -float("inf")
    assert full_table.nearest(bad).tolist() == [-1, -1, -1]
    assert full_table.bin_of(torch.randn(7, 11, 3) * 9).shape == (7, 11)
    assert full_table.bin_of(torch.full((1, 3), 1e30)).item() == full_table.bins - 1


def test_a_heading_beyond_the_last_counts_as_the_last(full_table):
    beyond = full_table.obs[3] + torch.tensor([0.0, 0.0, 0.45])
    assert full_table.nearest(beyond) == 3


def test_a_table_can_be_built_without_blocks():
    table = GridTable.build(13, put_blocks=False)
    assert len(table.cells) == 105 and table.blocks == ()


def test_transitions_list_every_state_with_every_action(small_table):
    obs, action, after = small_table.transitions()
    assert obs.shape == after.shape == (101 * 4 * 3, 3)
    third = small_table.state_of(2, 1, 1)
    assert torch.equal(obs[third * 3 + 2], small_table.obs[third])
    assert action[third * 3 + 2].tolist() == [0, 0, 1]
    assert torch.equal(after[third * 3 + 2], small_table.obs[small_table.state_of(2, 2, 1)])


def test_reset_draws_even_headings_from_the_given_generator(full_table, generator):
    batch = GridBatch(full_table, LISTED_TASKS["room-2"])
    obs = batch.reset(10_007, generator)
    assert obs.shape == (10_007, 3) and obs.dtype == torch.float32
    assert torch.equal(obs[:, :2], full_table.obs[batch.first_state, :2].expand(10_007, 2))
    headings, count = obs[:, 2].unique(return_counts=True)
    assert headings.tolist() == [-1.0, -0.5, 0.0, 0.5]
    assert (count / 10_007).tolist() == pytest.approx([0.25] * 4, abs=0.02)
    again = batch.reset(10_007, torch.Generator().manual_seed(0))
    assert torch.equal(obs, again)


def test_writing_the_state_back_resumes_the_episodes(small_table, generator):
    task = named_tasks(13)["room-1"]
    batch, other = GridBatch(small_table, task), GridBatch(small_table, task)
    batch.reset(7, generator)
    other.state = batch.state.clone()
    action = batch.actions.random(7, generator)
    assert all(
        torch.equal(a, b) for a, b in zip(batch.step(action), other.step(action), strict=True)
    )


def test_resetting_and_stepping_read_nothing_back(full_table, generator, no_host_reads):
    batch = GridBatch(full_table, LISTED_TASKS["room-1"])
    action = one_hot(torch.arange(4099) % 3, 3)
    with no_host_reads():
        batch.reset(4099, generator)
        obs, reward = batch.step(action)
    assert obs.shape == (4099, 3) and reward.shape == (4099,) and reward.dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("name", CONTINUAL)
def test_the_accelerator_plays_the_same_episodes_without_waiting(name):
    task, returns = named_tasks(13)[name], {}
    for device in ("cpu", "cuda"):
        generator = torch.Generator().manual_seed(1)
        batch = GridBatch(GridTable.build(13, device=device), task)
        batch.reset(101, generator)
        actions = [batch.actions.random(101, generator).to(device) for _ in range(50)]
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            reward = torch.stack([batch.step(action)[1] for action in actions])
        finally:
            torch.cuda.set_sync_debug_mode("default")
        returns[device] = reward.cpu()
    assert torch.equal(returns["cpu"], returns["cuda"])
