"""The bonus for cells that were rarely visited, by hand and by a slow loop."""

import math

import torch

from lib.algos.dreamer.exploration.visits import CELLS, visit_bonus

E, T = 3, 5


def test_a_bonus_by_hand():
    cell = torch.tensor([[7, 7, 2, 7]])  # stands at 7, bumps into something, goes to 2 and back
    counts = torch.zeros(CELLS, dtype=torch.int64)
    counts[2] = 3
    bonus, after = visit_bonus(cell, torch.tensor([3]), counts)
    torch.testing.assert_close(bonus, torch.tensor([[1.0, 1 / 2, 1 / math.sqrt(2)]]))
    assert after[7] == 2 and after[2] == 4 and after.sum() == 6
    assert counts.sum() == 3, "what was counted before is left alone"


def test_bonuses_equal_a_slow_loop():
    draws = torch.Generator().manual_seed(0)
    cell = torch.randint(0, 3, (E, T + 1), generator=draws)
    length = torch.tensor([5, 1, 4])
    bonus, after = visit_bonus(cell, length, torch.zeros(CELLS, dtype=torch.int64))
    seen: dict[int, int] = {}
    for e in range(E):
        for step in range(T):
            if step >= length[e]:
                assert bonus[e, step] == 0.0
                continue
            entered = int(cell[e, step + 1])
            seen[entered] = seen.get(entered, 0) + 1
            assert bonus[e, step].item() == torch.tensor(seen[entered]).rsqrt().item()
    assert {i: int(n) for i, n in enumerate(after) if n} == seen


def test_episodes_one_by_one_are_paid_like_several_at_once():
    draws = torch.Generator().manual_seed(1)
    cell, length = torch.randint(0, 4, (E, T + 1), generator=draws), torch.tensor([2, 5, 3])
    counts = torch.zeros(CELLS, dtype=torch.int64)
    together, after = visit_bonus(cell, length, counts)
    for e in range(E):
        alone, counts = visit_bonus(cell[e : e + 1], length[e : e + 1], counts)
        assert torch.equal(alone[0], together[e])
    assert torch.equal(counts, after)
