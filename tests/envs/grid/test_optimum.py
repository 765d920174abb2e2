from itertools import product

import pytest
import torch

from lib.envs.grid.env import FourRooms
from lib.envs.grid.optimum import best_actions, finite_horizon_values, policy_values
from lib.envs.grid.rooms import LISTED_TASKS
from lib.envs.grid.table import WARMUP, GridBatch

# A corridor of three cells: action 0 stays, action 1 goes right (and bumps at the end).
# Staying in cell 0 pays 1; the step from cell 1 to cell 2 pays 5; all else pays nothing.
#   one step:    V1 = [1, 5, 0]
#   two steps:   V2(0) = max(1 + V1(0), 0 + V1(1)) = max(2, 5) = 5
#                V2(1) = max(0 + V1(1), 5 + V1(2)) = 5,  V2(2) = 0
#   three steps: V3(0) = max(1 + V2(0), 0 + V2(1)) = max(6, 5) = 6, V3(1) = 5, V3(2) = 0
CORRIDOR = torch.tensor([[0, 1], [1, 2], [2, 2]])
CORRIDOR_REWARD = torch.tensor([[1.0, 0.0], [0.0, 5.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("steps", "best"), [(0, [0, 0, 0]), (1, [1, 5, 0]), (2, [5, 5, 0]), (3, [6, 5, 0])]
)
def test_values_of_a_corridor_worked_by_hand(steps, best):
    assert finite_horizon_values(CORRIDOR, CORRIDOR_REWARD, steps).tolist() == best


def test_best_actions_of_a_corridor_worked_by_hand():
    # with three steps to go stay in cell 0, with two leave it, with one stay
    assert best_actions(CORRIDOR, CORRIDOR_REWARD, 3)[:, 0].tolist() == [0, 1, 0]


def test_values_of_a_random_policy_in_a_corridor_worked_by_hand():
    # V1 = [.5, 2.5, 0]; V2(0) = .5 (1 + .5) + .5 (2.5) = 2, V2(1) = .5 (2.5) + .5 (5 + 0) = 3.75
    chances = torch.tensor([0.5, 0.5])
    assert policy_values(CORRIDOR, CORRIDOR_REWARD, chances, 2).tolist() == [2, 3.75, 0]


def test_dynamic_programming_agrees_with_trying_every_plan(generator):
    states, actions, steps = 7, 3, 5
    next_state = torch.randint(states, (states, actions), generator=generator)
    reward = torch.randn(states, actions, generator=generator)
    returns = torch.zeros(states, actions**steps)
    for first in range(states):
        for number, plan in enumerate(product(range(actions), repeat=steps)):
            state = first
            for action in plan:
                returns[first, number] += reward[state, action]
                state = int(next_state[state, action])
    best = finite_horizon_values(next_state, reward, steps)
    even = policy_values(next_state, reward, torch.full((actions,), 1 / actions), steps)
    assert best.tolist() == pytest.approx(returns.amax(1).tolist(), abs=1e-5)
    assert even.tolist() == pytest.approx(returns.mean(1).tolist(), abs=1e-5)


def optimum_by_heading(table, name: str, kind: str = "dense") -> torch.Tensor:
    task = LISTED_TASKS[name]
    values = finite_horizon_values(table.next_state, table.reward(task, kind), 100)
    first = table.state_of(*task.start, 0)
    return values[first : first + 4]


# Means published to one decimal; room-4's 250.5 is the middle of the best and the worst heading
# rounded, (253.4 + 247.5) / 2, while the mean over the four headings is 250.43.
@pytest.mark.parametrize(
    ("name", "mean", "best"),
    [
        ("room-1", 250.9, 253.0),
        ("room-2", 247.0, 249.7),
        ("room-3", 253.3, 256.2),
        ("room-4", 250.5, 253.4),
    ],
)
def test_the_optimum_of_the_four_rooms_is_the_published_one(full_table, name, mean, best):
    values = optimum_by_heading(full_table, name)
    assert values.mean().item() == pytest.approx(mean, abs=0.07)
    assert values.max().item() == pytest.approx(best, abs=0.05)


@pytest.mark.parametrize(
    ("name", "worst", "best"), [("room-1to3", 264.2, 270.2), ("room-1to2", 263.5, 269.5)]
)
def test_the_optimum_of_the_transfers_is_the_published_one(full_table, name, worst, best):
    values = optimum_by_heading(full_table, name)
    assert values.min().item() == pytest.approx(worst, abs=0.05)
    assert values.max().item() == pytest.approx(best, abs=0.05)
    sparse = optimum_by_heading(full_table, name, "sparse")
    assert (sparse.min(), sparse.max()) == (87, 89)


@pytest.mark.parametrize("name", ["room-1", "room-2", "room-3", "room-4"])
def test_the_random_warmup_policy_earns_between_6_and_9(full_table, name, generator):
    task, chances = LISTED_TASKS[name], torch.tensor(WARMUP, dtype=torch.float64)
    values = policy_values(full_table.next_state, full_table.reward(task), chances, 100)
    first = full_table.state_of(*task.start, 0)
    expected = values[first : first + 4].mean().item()
    assert 6 < expected < 9
    batch, copies = GridBatch(full_table, task), 4099
    batch.reset(copies, generator)
    earned = torch.zeros(copies)
    for _ in range(100):
        earned += batch.step(batch.actions.random(copies, generator))[1]
    error = earned.std().item() / copies**0.5
    assert earned.mean().item() == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize("name", LISTED_TASKS)
def test_the_best_actions_earn_the_optimum_in_the_real_environment(full_table, name):
    task = LISTED_TASKS[name]
    plan = best_actions(full_table.next_state, full_table.reward(task), 100)
    env = FourRooms(start=task.start, goal=task.goal)
    for heading, best in enumerate(optimum_by_heading(full_table, name).tolist()):
        env.reset(seed=0)
        env.put_agent(task.start, heading)
        earned = 0.0
        for step in range(100):
            state = full_table.state_of(*map(int, env.agent_pos), env.agent_dir)
            earned += env.step(int(plan[step, state]))[1]
        assert earned == pytest.approx(best, abs=1e-3)
