"""Audits of whole plans, on the quick presets' grid of 13 x 13 cells: 101 free ones, 404 states."""

import numpy as np
import pytest
import torch

from lib.core.distributions import one_hot
from lib.envs.grid import plans
from lib.envs.grid.domain import GridDomain
from lib.envs.grid.optimum import finite_horizon_values
from lib.envs.grid.rooms import CONTINUAL, Cell, named_tasks

H = 4
FORWARD = 2


@pytest.fixture
def domain(small_table) -> GridDomain:
    return GridDomain(small_table, tuple(named_tasks(13)[name] for name in CONTINUAL))


def outcomes_of(step):
    """A model of one step, (n, L) and (n,) actions to next (n, L) and reward (n,), open loop."""

    def outcomes(obs, actions):
        seen, paid = [obs], []
        for action in actions.unbind(1):
            after, reward = step(seen[-1], action.argmax(-1))
            seen.append(after)
            paid.append(reward)
        return torch.stack(seen, 1), torch.stack(paid, 1)

    return outcomes


def true_step(domain: GridDomain, task: int = 0):
    table, reward = domain.table, domain.table.reward(domain.tasks[task])

    def step(obs, action):
        state = table.nearest(obs)
        return table.obs[table.next_state[state, action]], reward[state, action]

    return step


def sliding_step(domain: GridDomain, goal: Cell = (7, 3)):
    """Right about every single step, but walls give way by .4 of a cell at each push.

    The default goal lies behind the wall x = 6, two cells from x = 5: four pushes promise it.
    """
    table, ahead = domain.table, torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])

    def step(obs, action):
        state = table.nearest(obs)
        following = table.next_state[state.clamp_min(0), action]
        pushes = (action == FORWARD) & ((state < 0) | (following == state))
        heading = ((obs[:, 2] + 1) * 2).round().long()
        after = torch.where((state < 0)[:, None], obs, table.obs[following])
        slid = obs[:, :2] + 0.8 / table.size * ahead[heading]
        after[:, :2] = torch.where(pushes[:, None], slid, after[:, :2])
        cell = ((after[:, :2] + 1) * table.size / 2).round()
        return after, 3.0 * (cell == torch.tensor(goal)).all(-1)

    return step


def found(domain, step, sequences=None, horizon=H):
    reward = domain.table.reward(domain.tasks[0])
    return plans.expectations(domain.table, reward, outcomes_of(step), horizon, 0.9, sequences)


def test_all_sequences_of_a_perfect_model_pay_what_they_promise(domain):
    expected = found(domain, true_step(domain))
    assert expected.imagined.shape == (404, 3**H) and (expected.right == 1).all()
    assert torch.allclose(expected.imagined, expected.paid)
    best = plans.best_plans(expected)
    assert not best.phantom.any() and np.allclose(best.regret, 0) and np.allclose(best.excess, 0)


def test_the_best_sequence_of_the_table_is_the_optimum_of_so_many_steps(domain):
    # undiscounted, the best of all 3**4 sequences pays what dynamic programming says
    table, reward = domain.table, domain.table.reward(domain.tasks[0])
    expected = plans.expectations(table, reward, outcomes_of(true_step(domain)), H, 1.0)
    wanted = finite_horizon_values(table.next_state, reward, H)
    assert torch.allclose(expected.paid.amax(1), wanted)


def test_given_sequences_are_found_among_all(domain):
    # as digits, the first the highest: 2 1 0 2 is 2*27 + 1*9 + 0*3 + 2 = 65
    everything = found(domain, sliding_step(domain))
    some = found(domain, sliding_step(domain), torch.tensor([[2, 1, 0, 2], [0, 0, 0, 0]]))
    for part in ("imagined", "paid"):
        assert torch.allclose(getattr(some, part), getattr(everything, part)[:, [65, 0]])


def test_a_model_that_is_right_in_every_step_may_promise_phantoms(domain):
    expected = found(domain, sliding_step(domain), horizon=5)
    assert (expected.right[:, 0] == 1).all(), "every single step rounds to the right cell"
    best, state = plans.best_plans(expected), domain.table.state_of(5, 3, 0)
    assert expected.right[state, -1] < 1, "five do not"
    # The fourth push reaches 6.6, the goal's cell: 3 then and 3 for turning there, paid nothing.
    assert best.phantom[state] and best.excess[state] == pytest.approx(3 * (0.9**3 + 0.9**4))


def test_metrics_are_means_over_the_states_of_the_tasks_rooms(domain):
    draws = torch.Generator().manual_seed(0)
    metrics, arrays = domain.audit_plans(0, outcomes_of(sliding_step(domain)), H, 0.9, draws)
    room = domain.table.room.numpy() == 1
    assert metrics["plans/room-1/phantoms"] == arrays["phantom"][room].sum()
    assert metrics["plans/room-1/phantom_share"] == pytest.approx(arrays["phantom"][room].mean())
    assert metrics["plans/room-1/right_4"] == pytest.approx(arrays["right"][room, 3].mean())
    assert set(metrics) == {
        f"plans/room-1/{name}"
        for name in (
            "phantoms",
            "phantom_share",
            "excess",
            "regret",
            "right_1",
            "right_2",
            "right_4",
        )
    }


def test_too_many_sequences_are_drawn_instead():
    draws = torch.Generator().manual_seed(0)
    assert plans.drawn_sequences(404, 6, draws) is None  # 404 * 729
    drawn = plans.drawn_sequences(2244, 10, draws)  # 2244 * 59,049 are too many
    assert drawn.shape == (plans.IMAGINED // 22_440, 10)
    assert drawn.unique().tolist() == [0, 1, 2]


def test_actions_are_asked_about_as_one_hot_vectors(domain):
    asked = []

    def outcomes(obs, actions):
        asked.append(actions)
        return outcomes_of(true_step(domain))(obs, actions)

    reward = domain.table.reward(domain.tasks[0])
    plans.expectations(domain.table, reward, outcomes, 1, 0.9)
    wanted = one_hot(torch.arange(3).repeat(404), 3).unsqueeze(1)
    assert torch.equal(asked[0], wanted.to(asked[0].dtype))
