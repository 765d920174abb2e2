import pytest
import torch
from torch.nn import functional as F

from lib.distributions import (
    bounded_sample,
    categorical_index,
    gumbel,
    one_hot,
    one_hot_sample,
)

N, A = 20_011, 3


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_gumbel_noise_has_its_known_mean_and_spread(draws):
    # mean is Euler's constant 0.5772, variance pi^2 / 6 = 1.645
    noise = gumbel(torch.zeros(N), draws)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.03)
    assert noise.var().item() == pytest.approx(1.645, abs=0.1)
    assert noise.isfinite().all()


def test_one_hot_samples_hold_exactly_zeros_and_a_one(draws):
    sample = one_hot_sample(torch.randn(N, A, generator=draws), draws)
    assert ((sample == 0) | (sample == 1)).all() and (sample.sum(-1) == 1).all()


def test_one_hot_samples_follow_the_softmax(draws):
    logits = torch.tensor([0.2, 0.5, 0.3]).log() + 7.0  # a constant changes nothing
    share = one_hot_sample(logits.expand(N, A), draws).mean(0)
    # standard error of a share is at most sqrt(.25 / 20011) = .0035
    assert share.tolist() == pytest.approx([0.2, 0.5, 0.3], abs=0.015)


def test_the_gradient_of_a_one_hot_sample_is_that_of_the_softmax():
    logits = torch.randn(5, A, generator=torch.Generator().manual_seed(1), requires_grad=True)
    pull = torch.tensor([1.0, 5.0, -2.0])
    (one_hot_sample(logits, torch.Generator().manual_seed(2)) * pull).sum().backward()
    noise = gumbel(logits, torch.Generator().manual_seed(2))
    copy = logits.detach().requires_grad_()
    (F.softmax(copy + noise, -1) * pull).sum().backward()
    assert torch.allclose(logits.grad, copy.grad) and logits.grad.any()


def test_indices_follow_unnormalised_probabilities(draws):
    index = categorical_index(torch.tensor([[2.0, 5.0, 3.0], [0.0, 0.0, 4.0]]), (N, 2), draws)
    share = F.one_hot(index, A).float().mean(0)
    assert share[0].tolist() == pytest.approx([0.2, 0.5, 0.3], abs=0.015)
    assert share[1].tolist() == [0, 0, 1]


@pytest.mark.parametrize("impossible", [0, 1, 2])
def test_an_index_without_probability_is_never_drawn(impossible, draws):
    probs = torch.full((A,), 0.5)
    probs[impossible] = 0.0
    assert (categorical_index(probs, (N,), draws) != impossible).all()


def test_extreme_uniform_numbers_stay_in_range(monkeypatch):
    probs = torch.tensor([0.1, 0.7, 0.2])
    for uniform, expected in ((0.0, 0), (1 - 2**-24, 2)):
        monkeypatch.setattr(torch, "rand", lambda *a, u=uniform, **k: torch.full((5,), u))
        assert (categorical_index(probs, (5,), None) == expected).all()


def test_probabilities_broadcast_over_the_asked_shape(draws):
    probs = torch.eye(A).view(A, 1, A)  # row i always draws i
    index = categorical_index(probs, (A, 13), draws)
    assert index.tolist() == [[i] * 13 for i in range(A)]


def test_bounded_noise_is_clipped_to_three_tenths(draws):
    spread = bounded_sample(torch.zeros(N), 1.0, draws)
    assert spread.abs().max().item() == pytest.approx(0.3)
    # P(|N(0, 1)| > .3) = .764 lands on the clip
    assert (spread.abs() > 0.2999).float().mean().item() == pytest.approx(0.764, abs=0.02)
    assert bounded_sample(torch.zeros(N), 0.05, draws).std().item() == pytest.approx(0.05, rel=0.03)


def test_bounded_actions_stay_strictly_inside_and_let_every_gradient_through(draws):
    mean = torch.tensor([-1.0, -0.9, 0.0, 0.9, 1.0]).expand(N, 5).clone().requires_grad_()
    action = bounded_sample(mean, 0.5, draws)
    assert action.abs().max() < 1
    action.sum().backward()
    assert (mean.grad == 1).all()


def test_one_hot_marks_the_given_place():
    assert one_hot(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
