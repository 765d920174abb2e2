import copy

import pytest
import torch

from lib.algos.tdmpc import consolidation
from lib.algos.tdmpc.consolidation import Consolidation, fisher_diagonal
from lib.algos.tdmpc.model import Dynamics
from lib.core import losses

N, L, A = 13, 3, 2


def model(draws: torch.Generator) -> Dynamics:
    return Dynamics(L, A, 7, draws, crelu=True, bounded=True)


def data(draws: torch.Generator, n: int = N) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return tuple(torch.randn(n, size, generator=draws) for size in (L, A, L))


def slow_fisher(dynamics: Dynamics, rows: tuple) -> list[torch.Tensor]:
    """One backward pass per transition."""
    total = [torch.zeros_like(p) for p in dynamics.parameters()]
    for obs, action, nxt in zip(*rows, strict=True):
        error = losses.model_error(dynamics(obs, action), nxt)
        for t, g in zip(
            total, torch.autograd.grad(error, list(dynamics.parameters())), strict=True
        ):
            t += g.square() / len(rows[0])
    return total


@pytest.mark.parametrize("chunk", [256, 5], ids=["one chunk", "uneven chunks"])
def test_fisher_equals_the_loop_over_transitions(chunk, draws, monkeypatch):
    monkeypatch.setattr(consolidation, "CHUNK", chunk)
    dynamics, rows = model(draws), data(draws)
    fast = fisher_diagonal(dynamics, *rows)
    for f, s, p in zip(fast, slow_fisher(dynamics, rows), dynamics.parameters(), strict=True):
        assert f.shape == p.shape and torch.allclose(f, s, atol=1e-6, rtol=1e-4)
    assert all(p.grad is None for p in dynamics.parameters())


def test_fisher_of_a_linear_prediction_by_hand():
    # T = w x with x = 2, target 3, w = 1: error (2 - 3)^2, gradient 2 * (2 - 3) * 2 = -4
    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor([1.0]))

        def forward(self, obs, action):
            return self.w * obs

    rows = torch.tensor([[2.0]]), torch.tensor([[0.0]]), torch.tensor([[3.0]])
    assert fisher_diagonal(Line(), *rows)[0].tolist() == [16.0]


def penalty(ewc: Consolidation, dynamics: Dynamics) -> torch.Tensor:
    """What is added to the dynamics' loss, before its strength."""
    return losses.ewc_penalty(dynamics.parameters(), ewc.anchors, ewc.fisher)


def test_nothing_is_held_before_the_first_boundary():
    assert Consolidation().state_dict() == {"anchors": [], "fisher": []}


def test_the_penalty_is_zero_at_the_anchors_and_pulls_back_towards_them(draws):
    dynamics, ewc = model(draws), Consolidation()
    ewc.consolidate(dynamics, data(draws), draws)
    assert penalty(ewc, dynamics).item() == 0
    with torch.no_grad():
        for p in dynamics.parameters():
            p.add_(1.0)
    loss = penalty(ewc, dynamics)
    expected = 0.5 * sum(f.sum().item() for f in ewc.fisher)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert all((p.grad >= 0).all() for p in dynamics.parameters())


def test_a_second_task_adds_its_importance_and_moves_the_anchors(draws):
    dynamics, ewc = model(draws), Consolidation()
    first, second = data(draws, 1), data(draws, 1)  # one transition each: no choice of rows
    ewc.consolidate(dynamics, first, draws)
    before = [f.clone() for f in ewc.fisher]
    with torch.no_grad():
        dynamics.net[0].bias.add_(0.5)
    ewc.consolidate(dynamics, second, draws)
    for total, old, new in zip(ewc.fisher, before, slow_fisher(dynamics, second), strict=True):
        assert torch.allclose(total, old + new, atol=1e-6, rtol=1e-4)
    assert all(torch.equal(a, p) for a, p in zip(ewc.anchors, dynamics.parameters(), strict=True))
    assert ewc.anchors[0].data_ptr() != next(dynamics.parameters()).data_ptr()


def test_a_restored_consolidation_asks_the_same(draws):
    dynamics, ewc, other = model(draws), Consolidation(), Consolidation()
    ewc.consolidate(dynamics, data(draws), draws)
    other.load_state_dict(copy.deepcopy(ewc.state_dict()), "cpu")
    with torch.no_grad():
        dynamics.net[0].weight.mul_(1.1)
    assert torch.equal(penalty(ewc, dynamics), penalty(other, dynamics))
