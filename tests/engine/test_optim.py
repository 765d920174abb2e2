import math

import pytest
import torch
from torch import nn

from lib.engine import optim
from lib.engine.optim import Adam, FlatAdam
from lib.engine.seeds import stack_as_views


def problem(seed: int = 0) -> tuple[nn.Linear, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    net = nn.Linear(3, 2)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=draws))
    return net, torch.randn(7, 3, generator=draws)


def descend(net: nn.Linear, adam: Adam, x: torch.Tensor, steps: int) -> None:
    for _ in range(steps):
        adam.apply(torch.autograd.grad(net(x).square().mean(), list(net.parameters())))


def descend_aside(
    net: nn.Linear, optimizer: torch.optim.Optimizer, x: torch.Tensor, steps: int
) -> None:
    for _ in range(steps):
        net(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def test_first_adam_step_moves_every_weight_by_the_learning_rate():
    # m / sqrt(v) is g / |g| after the first step's bias correction, so |step| = lr
    net, x = problem()
    before = net.weight.detach().clone()
    descend(net, Adam.over(net.parameters(), lr=0.1), x, 1)
    assert torch.allclose((net.weight - before).abs(), torch.full((2, 3), 0.1), atol=1e-5)


def test_steps_equal_those_of_pytorchs_plain_adam():
    (net, x), (twin, _) = problem(), problem()
    descend(net, Adam.over(net.parameters(), lr=0.1), x, 5)
    descend_aside(twin, torch.optim.Adam(twin.parameters(), lr=0.1, foreach=False), x, 5)
    assert torch.allclose(net.weight, twin.weight, atol=1e-6)
    assert torch.allclose(net.bias, twin.bias, atol=1e-6)


def test_parameters_that_lie_otherwise_in_memory_are_stepped_alike():
    # the fused kernel walks through memory: a transposed weight must not get another's gradient
    (net, x), (twin, _) = problem(), problem()
    twin.weight.data = twin.weight.detach().T.contiguous().T
    assert not twin.weight.is_contiguous()
    for each in (net, twin):
        descend(each, Adam.over(each.parameters(), lr=0.1), x, 3)
    assert torch.equal(net.weight, twin.weight)


def test_gradients_that_lie_otherwise_in_memory_are_applied_alike():
    one, two = (torch.zeros(2, 3) for _ in range(2))
    gradient = torch.arange(6.0).view(3, 2)
    for weight, given in ((one, gradient.T), (two, gradient.T.contiguous())):
        Adam.over([weight], lr=0.1).apply([given])
    assert torch.equal(one, two)


def test_a_changed_learning_rate_counts_from_the_next_step_on():
    # a constant gradient moves a weight by the learning rate at every step: 1 + .5 + 0
    weight = torch.zeros(1)
    adam = Adam.over([weight], lr=1.0)
    for lr in (1.0, 0.5, 0.0):
        adam.set_lr(lr)
        adam.apply([torch.ones(1)])
    assert weight.item() == pytest.approx(-1.5, abs=1e-5)


def test_a_step_leaves_no_gradients_behind():
    net, x = problem()
    descend(net, Adam.over(net.parameters(), lr=0.1), x, 2)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


# Several as one --------------------------------------------------------------------------------


def test_several_joined_take_the_steps_that_each_takes_alone():
    weights = [torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 0.25, -4.0])]
    alone = [weight.clone() for weight in weights]
    gradients = torch.tensor([[[1.0, 2.0, -3.0], [0.1, 0.0, 5.0]], [[2.0, -2.0, 0.0], [1, 7, -1]]])
    each = [Adam.over([weight], lr=0.1) for weight in weights]
    both = Adam.joined(each, [stack_as_views(weights)])
    for gradient in gradients:
        both.apply([gradient])
    for lane, weight in enumerate(alone):
        own = Adam.over([weight], lr=0.1)
        for gradient in gradients:
            own.apply([gradient[lane]])
        assert torch.equal(weights[lane], weight)
        assert all(
            torch.equal(mine, theirs)
            for slot in optim.SLOTS
            for mine, theirs in zip(
                each[lane].state_dict()[slot], own.state_dict()[slot], strict=True
            )
        )


def test_joined_ones_follow_one_learning_rate():
    each = [Adam.over([torch.zeros(2)], lr=0.1) for _ in range(3)]
    both = Adam.joined(each, [torch.zeros(3, 2)])
    each[2].set_lr(0.7)
    assert both.lr.item() == each[0].lr.item() == pytest.approx(0.7)


# Saving ----------------------------------------------------------------------------------------


def test_a_restored_optimiser_takes_the_same_steps_to_the_bit():
    net, x = problem()
    adam = Adam.over(net.parameters(), lr=0.1)
    descend(net, adam, x, 3)
    twin, _ = problem()
    twin.load_state_dict(net.state_dict())
    restored = Adam.over(twin.parameters(), lr=0.1)
    restored.load_state_dict(adam.state_dict())
    descend(net, adam, x, 3)
    descend(twin, restored, x, 3)
    assert torch.equal(net.weight, twin.weight) and torch.equal(net.bias, twin.bias)


def test_a_restored_optimiser_shares_no_memory_with_what_it_came_from():
    net, x = problem()
    adam, other = (Adam.over(n.parameters(), lr=0.1) for n in (net, problem()[0]))
    descend(net, adam, x, 1)
    other.load_state_dict(adam.state_dict())
    descend(net, adam, x, 1)
    assert [count.item() for count in other.step] == [1.0, 1.0]


def test_an_optimiser_that_never_stepped_saves_and_restores_as_such():
    net, x = problem()
    adam = Adam.over(net.parameters(), lr=0.1)
    empty = Adam.over(problem()[0].parameters(), lr=0.1).state_dict()
    assert not any(part.any() for parts in empty.values() for part in parts)
    descend(net, adam, x, 2)
    adam.load_state_dict(empty)
    assert not any(part.any() for parts in adam.state_dict().values() for part in parts)


# What is trained aside, by PyTorch's own optimiser ---------------------------------------------


def test_a_restored_optimiser_of_pytorchs_takes_the_same_steps_to_the_bit():
    net, x = problem()
    optimizer = optim.adam(net.parameters(), lr=0.1)
    descend_aside(net, optimizer, x, 3)
    twin, _ = problem()
    twin.load_state_dict(net.state_dict())
    restored = optim.adam(twin.parameters(), lr=0.1)
    optim.load(restored, optim.state(optimizer))
    descend_aside(net, optimizer, x, 3)
    descend_aside(twin, restored, x, 3)
    assert torch.equal(net.weight, twin.weight) and torch.equal(net.bias, twin.bias)


def test_a_restored_optimiser_of_pytorchs_shares_no_memory_with_what_it_came_from():
    net, x = problem()
    optimizer = optim.adam(net.parameters(), lr=0.1)
    descend_aside(net, optimizer, x, 1)
    saved = optim.state(optimizer)
    other = optim.adam(problem()[0].parameters(), lr=0.1)
    optim.load(other, saved)
    descend_aside(net, optimizer, x, 1)
    assert all(entry["step"].item() == 1 for entry in other.state.values())


def test_an_optimiser_of_pytorchs_that_never_stepped_saves_and_restores_as_such():
    net, x = problem()
    optimizer = optim.adam(net.parameters(), lr=0.1)
    empty = optim.state(optimizer)
    assert empty == {"step": [], "exp_avg": [], "exp_avg_sq": []}
    descend_aside(net, optimizer, x, 2)
    optim.load(optimizer, empty)
    assert not optimizer.state


# Rows of numbers, as the Dreamers have them ----------------------------------------------------


def keras(weights, gradients, lr, epsilon, decay, clip):
    """A slow loop over numbers: clip, moments, the step with epsilon uncorrected, decay."""
    mean, square = [0.0] * len(weights), [0.0] * len(weights)
    for t, gradient in enumerate(gradients, 1):
        norm = math.sqrt(sum(g * g for g in gradient))
        rate = lr * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for i, g in enumerate(gradient):
            g = g * clip / max(clip, norm)
            mean[i] = 0.9 * mean[i] + 0.1 * g
            square[i] = 0.999 * square[i] + 0.001 * g * g
            weights[i] *= 1 - decay
            weights[i] -= rate * mean[i] / (math.sqrt(square[i]) + epsilon)
    return weights


@pytest.mark.parametrize("scale", [1e-5, 1.0, 50.0], ids=["tiny", "usual", "clipped"])
def test_rows_take_the_steps_of_a_slow_loop(scale):
    draws = torch.Generator().manual_seed(0)
    row = torch.randn(2, 5, generator=draws)
    gradients = scale * torch.randn(7, 2, 5, generator=draws)
    how = {"lr": 1e-2, "epsilon": 1e-5, "decay": 1e-3, "clip": 10.0}
    wanted = [keras(row[s].tolist(), gradients[:, s].tolist(), **how) for s in range(2)]
    adam = FlatAdam.over(row.clone(), **how)
    for gradient in gradients:
        norm = adam.apply(gradient)
        torch.testing.assert_close(norm, torch.linalg.vector_norm(gradient, dim=1))
    torch.testing.assert_close(adam.row, torch.tensor(wanted))


def test_a_tiny_gradient_takes_a_smaller_step_than_with_pytorchs_epsilon():
    # g = 1e-6, epsilon = 1e-5: m = 0.1 g, sqrt(v) = sqrt(0.001) g, rate = lr sqrt(0.001) / 0.1,
    # so the step is lr g / (g + epsilon / sqrt(0.001)), not lr g / (g + epsilon)
    adam = FlatAdam.over(torch.zeros(1, 1), 0.1, 1e-5, 0.0, 100.0)
    adam.apply(torch.full((1, 1), 1e-6))
    assert adam.row.item() == pytest.approx(
        -0.1 * 1e-6 / (1e-6 + 1e-5 / math.sqrt(0.001)), rel=1e-4
    )


def test_decay_takes_the_same_share_whatever_the_learning_rate():
    for lr in (0.0, 1e-2):
        adam = FlatAdam.over(torch.ones(1, 3), lr, 1e-5, 0.25, 100.0)
        adam.apply(torch.zeros(1, 3))
        assert adam.row.tolist() == [[0.75] * 3]


def test_rows_are_clipped_one_by_one():
    adam = FlatAdam.over(torch.zeros(2, 2), 1.0, 1e-5, 0.0, 1.0)
    norms = adam.apply(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
    assert norms.tolist() == pytest.approx([5.0, 0.5])
    torch.testing.assert_close(adam.mean, 0.1 * torch.tensor([[0.6, 0.8], [0.3, 0.4]]))


def test_joined_rows_are_those_of_their_runs():
    each = [FlatAdam.over(torch.full((3,), float(i)), 0.1, 1e-5, 0.0, 100.0) for i in range(2)]
    both = FlatAdam.joined(each)
    both.apply(torch.ones(2, 3))
    assert torch.equal(both.row[1], each[1].row) and torch.equal(both.mean[0], each[0].mean)
    assert each[0].step == each[1].step == 1
    alone = FlatAdam.over(torch.ones(1, 3), 0.1, 1e-5, 0.0, 100.0)
    alone.apply(torch.ones(1, 3))
    torch.testing.assert_close(each[1].row, alone.row[0])
    each[0].reset()
    assert not both.mean[0].any() and both.mean[1].any() and both.step == 0


def test_restored_rows_take_the_same_steps_to_the_bit():
    draws = torch.Generator().manual_seed(0)
    adam = FlatAdam.over(torch.zeros(1, 4), 0.1, 1e-5, 1e-3, 100.0)
    adam.apply(torch.randn(1, 4, generator=draws))
    twin = FlatAdam.over(adam.row.clone(), 0.1, 1e-5, 1e-3, 100.0)
    twin.load_state_dict(adam.state_dict())
    gradient = torch.randn(1, 4, generator=draws)
    adam.apply(gradient)
    twin.apply(gradient)
    assert torch.equal(adam.row, twin.row) and twin.step == 2
