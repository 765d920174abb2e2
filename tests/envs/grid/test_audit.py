import math

import numpy as np
import pytest
import torch

from lib.core.distributions import one_hot
from lib.envs.grid import audit
from lib.envs.grid.domain import GridDomain
from lib.envs.grid.rooms import CONTINUAL, named_tasks
from lib.envs.grid.table import GridTable

ROOM_NAMES = ("room-1", "room-2", "room-3", "room-4")


@pytest.fixture
def domain(small_table) -> GridDomain:
    return GridDomain(small_table, tuple(named_tasks(13)[name] for name in CONTINUAL))


def perfect(table: GridTable):
    """The true dynamics as a world model."""

    def predict(obs, action):
        return table.obs[table.next_state[table.nearest(obs), action.argmax(-1)]]

    return predict


def identity(obs, action):
    return obs


def test_a_perfect_model_is_right_everywhere(domain):
    metrics, arrays = domain.audit(domain.new_held_out(), perfect(domain.table))
    for group in ("all", "doors", *ROOM_NAMES):
        assert metrics[f"audit/{group}/accuracy"] == 1
        assert metrics[f"audit/{group}/mse"] == 0
        assert metrics[f"audit/{group}/neg_log_mse"] == pytest.approx(12 * math.log(10))
    assert arrays["error"].shape == arrays["right"].shape == (101 * 4, 3)
    assert arrays["right"].all()


def test_predicting_no_change_is_right_only_where_forward_is_blocked(domain):
    table = domain.table
    metrics, arrays = domain.audit(domain.new_held_out(), identity)
    blocked = table.next_state[:, 2] == torch.arange(table.states)
    assert not arrays["right"][:, :2].any()  # every turn changes the heading
    assert np.array_equal(arrays["right"][:, 2], blocked.numpy())
    assert metrics["audit/all/accuracy"] == pytest.approx(blocked.sum().item() / (404 * 3))
    # A turn moves the heading by .5, or by 1.5 across the seam: squared, over three entries.
    from_up = arrays["error"][3, :2].tolist()  # to the left .5, to the right across the seam
    assert from_up == pytest.approx([0.25 / 3, 2.25 / 3])
    # A step forward moves one coordinate by 2/13.
    assert arrays["error"][0, 2] == pytest.approx((2 / 13) ** 2 / 3)


def test_a_model_that_is_not_finite_is_right_nowhere(domain):
    metrics, _ = domain.audit(domain.new_held_out(), lambda obs, action: obs * float("nan"))
    assert metrics["audit/all/accuracy"] == 0


def test_groups_and_their_averages_by_hand():
    # Three states, in an opening, in room 1 and in room 4; two actions. Rooms 2 and 3 are empty.
    room = np.array([0, 1, 4])
    met = np.zeros((2, 3, 2), dtype=bool)
    met[0, 1, 0] = met[0, 2, 1] = True  # in task "b" nothing was met
    sets = audit.groups(room, met, ["a", "b"])
    assert list(sets) == ["all", "doors", "room-1", "room-4", "met-a"]
    error = np.array([[0.0, 2.0], [4.0, 1.0], [3.0, 8.0]], dtype=np.float32)
    right = np.array([[1, 0], [0, 1], [0, 1]], dtype=bool)
    metrics = audit.prediction_metrics(error, right, sets)
    assert metrics["audit/all/mse"] == 3 and metrics["audit/all/accuracy"] == 0.5
    assert metrics["audit/room-1/mse"] == 2.5 and metrics["audit/room-1/accuracy"] == 0.5
    assert metrics["audit/met-a/mse"] == 6 and metrics["audit/met-a/accuracy"] == 0.5
    assert metrics["audit/met-a/count"] == 2
    assert metrics["audit/met-a/neg_log_mse"] == pytest.approx(-math.log(4) / 2 - math.log(8) / 2)
    # the error of 0 counts as 1e-12
    expected = (12 * math.log(10) - math.log(2)) / 2
    assert metrics["audit/doors/neg_log_mse"] == pytest.approx(expected)


def test_dream_shares_by_hand():
    # Ten dreams: two on a met transition in room 1, one elsewhere in room 1, one in room 4, six
    # inside walls. Task "a" met two transitions, one of them never dreamt of.
    room = np.array([1, 4])
    met = np.zeros((1, 2, 2), dtype=bool)
    met[0, 0, 0] = met[0, 1, 0] = True
    count = np.array([[2, 1], [0, 1]])
    metrics = audit.dream_metrics(count, met, audit.groups(room, met, ["a"]), drawn=10)
    assert metrics == {
        "dream/valid": 0.4,
        "dream/met": 0.2,
        "dream/room-1/share": 0.3,
        "dream/room-4/share": 0.1,
        "dream/met-a/coverage": 0.5,
    }


def test_dreams_are_counted_at_the_nearest_state_and_largest_action(small_table):
    table, state = small_table, small_table.state_of(4, 5, 2)
    wall = torch.tensor([[-1.0, -1.0, 0.0]])
    place = torch.cat((table.obs[[state, state]] + 0.05, wall))
    action = torch.tensor([[0.1, -0.2, 0.7], [0.3, 0.2, 0.1], [1.0, 0.0, 0.0]])
    count = audit.dream_counts(table, torch.cat((place, action), dim=1))
    assert count.shape == (404, 3) and count.sum() == 2
    assert count[state].tolist() == [1, 0, 1]


def test_record_marks_exactly_the_transitions_met(domain, generator, no_host_reads):
    batch, held_out, episodes, steps = domain.make(1), domain.new_held_out(), 5, 11
    obs = torch.zeros(episodes, steps, 3)
    action = torch.zeros(episodes, steps, 3)
    expected = set()
    now = batch.reset(episodes, generator)
    for step in range(steps):
        obs[:, step], action[:, step] = now, batch.actions.random(episodes, generator)
        chosen = action[:, step].argmax(-1)
        expected |= set((batch.state * 3 + chosen).tolist())
        now, _ = batch.step(action[:, step])
    with no_host_reads():
        domain.record(held_out, 1, obs, action)
    assert set(held_out[1].nonzero().flatten().tolist()) == expected
    assert not held_out[[0, 2, 3]].any()


def test_the_metric_names_are_the_documented_ones(domain, generator):
    held_out = domain.new_held_out()
    held_out[0, :7] = True

    def sample(n: int) -> torch.Tensor:
        state = torch.randint(domain.table.states, (n,), generator=generator)
        action = one_hot(torch.randint(3, (n,), generator=generator), 3)
        return torch.cat((domain.table.obs[state], action), dim=1)

    def intrinsic(obs, action, next_obs):
        return (next_obs - obs).abs().sum(-1)

    metrics, arrays = domain.audit(held_out, perfect(domain.table), sample, intrinsic)
    sets = ("all", "doors", *ROOM_NAMES, "met-room-1")
    names = {f"audit/{name}/{part}" for name in sets for part in ("mse", "accuracy", "neg_log_mse")}
    names |= {"audit/met-room-1/count", "dream/valid", "dream/met", "dream/met-room-1/coverage"}
    names |= {f"dream/{name}/share" for name in ("doors", *ROOM_NAMES)}
    assert set(metrics) == names
    assert all(type(value) is float for value in metrics.values())
    assert metrics["dream/valid"] == 1 and metrics["audit/met-room-1/count"] == 7
    assert metrics["dream/met-room-1/coverage"] == 1  # 20000 dreams on 1212 transitions
    assert sum(metrics[f"dream/{name}/share"] for name in ("doors", *ROOM_NAMES)) == pytest.approx(
        1
    )
    shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes == {
        "error": (404, 3),
        "right": (404, 3),
        "met": (4, 404, 3),
        "cells": (101, 2),
        "dream_count": (404, 3),
        "intrinsic": (404, 3),
    }
    # state 0 looks right from (1, 1): a step forward changes x by 2/13, a right turn the heading
    assert arrays["intrinsic"][0].tolist() == pytest.approx([1.5, 0.5, 2 / 13])


def test_the_audit_asks_for_no_gradients(domain):
    weight = torch.ones(3, requires_grad=True)
    domain.audit(
        domain.new_held_out(), lambda obs, action: obs * weight, None, lambda o, a, n: o @ weight
    )
    assert weight.grad is None
