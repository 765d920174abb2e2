import pytest
import torch
from torch import nn

from lib import optim


def problem(seed: int = 0) -> tuple[nn.Linear, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    net = nn.Linear(3, 2)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=draws))
    return net, torch.randn(7, 3, generator=draws)


def descend(net: nn.Linear, optimizer: torch.optim.Optimizer, x: torch.Tensor, steps: int) -> None:
    for _ in range(steps):
        net(x).square().mean().backward()
        optim.step([optimizer], list(net.parameters()))


def test_first_adam_step_moves_every_weight_by_the_learning_rate():
    # m / sqrt(v) is g / |g| after the first step's bias correction, so |step| = lr
    net, x = problem()
    before = net.weight.detach().clone()
    descend(net, optim.adam(net.parameters(), lr=0.1), x, 1)
    assert torch.allclose((net.weight - before).abs(), torch.full((2, 3), 0.1), atol=1e-5)


def test_a_restored_optimiser_takes_the_same_steps_to_the_bit():
    net, x = problem()
    optimizer = optim.adam(net.parameters(), lr=0.1)
    descend(net, optimizer, x, 3)
    twin, _ = problem()
    twin.load_state_dict(net.state_dict())
    restored = optim.adam(twin.parameters(), lr=0.1)
    optim.load(restored, optim.state(optimizer))
    descend(net, optimizer, x, 3)
    descend(twin, restored, x, 3)
    assert torch.equal(net.weight, twin.weight) and torch.equal(net.bias, twin.bias)


def test_a_restored_optimiser_shares_no_memory_with_what_it_came_from():
    net, x = problem()
    optimizer = optim.adam(net.parameters(), lr=0.1)
    descend(net, optimizer, x, 1)
    saved = optim.state(optimizer)
    other = optim.adam(problem()[0].parameters(), lr=0.1)
    optim.load(other, saved)
    descend(net, optimizer, x, 1)
    assert all(entry["step"].item() == 1 for entry in other.state.values())


def test_an_optimiser_that_never_stepped_saves_and_restores_as_such():
    net, x = problem()
    optimizer = optim.adam(net.parameters(), lr=0.1)
    empty = optim.state(optimizer)
    assert empty == {"step": [], "exp_avg": [], "exp_avg_sq": []}
    descend(net, optimizer, x, 2)
    optim.load(optimizer, empty)
    assert not optimizer.state


def test_the_norm_is_reported_before_clipping_and_the_gradients_are_cleared():
    # gradients (3, 4): norm 5, clipped to 1 they are (.6, .8)
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    weight.grad = torch.tensor([3.0, 4.0])
    assert optim.step([optimizer], [weight], clip=1.0).item() == pytest.approx(5.0)
    assert (-weight.detach()).tolist() == pytest.approx([0.6, 0.8], abs=1e-5)
    assert weight.grad is None


def test_without_a_clip_the_gradient_is_used_as_it_is():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([30.0, 40.0])
    assert optim.step([torch.optim.SGD([weight], lr=1.0)], [weight]).item() == 0
    assert (-weight.detach()).tolist() == [30.0, 40.0]


def test_several_optimisers_share_one_norm():
    # (3,) and (4,) clipped jointly to norm 1: .6 and .8, not 1 and 1
    one, two = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    one.grad, two.grad = torch.tensor([3.0]), torch.tensor([4.0])
    optim.step([torch.optim.SGD([p], lr=1.0) for p in (one, two)], [one, two], clip=1.0)
    assert [-one.item(), -two.item()] == pytest.approx([0.6, 0.8], abs=1e-5)
