import copy

import pytest
import torch

from lib.algos.tdmpc.model import Dynamics
from lib.algos.tdmpc.protections import ewc as module
from lib.algos.tdmpc.protections.api import Context, Given
from lib.algos.tdmpc.protections.ewc import Ewc, Settings, fisher_diagonal
from lib.core import losses
from lib.core.seeding import Streams
from lib.replay.generative import VaeConfig

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
    monkeypatch.setattr(module, "CHUNK", chunk)
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


def fresh() -> Ewc:
    """One of strength 1."""
    return Ewc(Settings(strength=1.0), Context(L, A, VaeConfig(), Streams(0, "cpu"), "cpu"))


def penalty(ewc: Ewc, dynamics: Dynamics) -> torch.Tensor:
    """What is added to the dynamics' loss."""
    return ewc.loss(Given(dynamics, None, {}, ewc.tensors(), {})).value


def test_nothing_is_held_before_the_first_boundary():
    ewc = fresh()
    assert ewc.state_dict() == {"anchors": None, "fisher": None}
    assert ewc.on and not ewc.due(0) and ewc.tensors() == {}


def test_the_penalty_is_zero_at_the_anchors_and_pulls_back_towards_them(draws):
    dynamics, ewc = model(draws), fresh()
    ewc.end_task(dynamics, data(draws))
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
    dynamics, ewc = model(draws), fresh()
    first, second = data(draws, 1), data(draws, 1)  # one transition each: no choice of rows
    ewc.end_task(dynamics, first)
    before = [f.clone() for f in ewc.fisher]
    with torch.no_grad():
        dynamics.net[0].bias.add_(0.5)
    ewc.end_task(dynamics, second)
    for total, old, new in zip(ewc.fisher, before, slow_fisher(dynamics, second), strict=True):
        assert torch.allclose(total, old + new, atol=1e-6, rtol=1e-4)
    assert all(torch.equal(a, p) for a, p in zip(ewc.anchors, dynamics.parameters(), strict=True))
    assert ewc.anchors[0].data_ptr() != next(dynamics.parameters()).data_ptr()


def test_a_restored_consolidation_asks_the_same(draws):
    dynamics, ewc, other = model(draws), fresh(), fresh()
    ewc.end_task(dynamics, data(draws))
    other.load_state_dict(copy.deepcopy(ewc.state_dict()))
    with torch.no_grad():
        dynamics.net[0].weight.mul_(1.1)
    assert torch.equal(penalty(ewc, dynamics), penalty(other, dynamics))
