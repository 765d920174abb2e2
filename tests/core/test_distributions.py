import math

import pytest
import torch
from torch.nn import functional as F

from lib.core.distributions import (
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


def uniform(draws: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=draws)


def normal(draws: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=draws)


def test_gumbel_noise_by_hand():
    # -log(-log(1/e)) = 0 and -log(-log(exp(-e))) = -1; the ends of [0, 1) stay finite
    noise = gumbel(torch.tensor([math.exp(-1.0), math.exp(-math.e), 0.0, 1 - 2**-24]))
    assert noise[:2].tolist() == pytest.approx([0.0, -1.0], abs=1e-6)
    assert noise.isfinite().all()


def test_gumbel_noise_has_its_known_mean_and_spread(draws):
    # mean is Euler's constant 0.5772, variance pi^2 / 6 = 1.645
    noise = gumbel(uniform(draws, N))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.03)
    assert noise.var().item() == pytest.approx(1.645, abs=0.1)
    assert noise.isfinite().all()


def test_one_hot_samples_hold_exactly_zeros_and_a_one(draws):
    sample = one_hot_sample(normal(draws, N, A), uniform(draws, N, A))
    assert ((sample == 0) | (sample == 1)).all() and (sample.sum(-1) == 1).all()


def test_one_hot_samples_follow_the_softmax(draws):
    logits = torch.tensor([0.2, 0.5, 0.3]).log() + 7.0  # a constant changes nothing
    share = one_hot_sample(logits.expand(N, A), uniform(draws, N, A)).mean(0)
    # standard error of a share is at most sqrt(.25 / 20011) = .0035
    assert share.tolist() == pytest.approx([0.2, 0.5, 0.3], abs=0.015)


def test_the_gradient_of_a_one_hot_sample_is_that_of_the_softmax(draws):
    logits = normal(draws, 5, A).requires_grad_()
    pull, noise = torch.tensor([1.0, 5.0, -2.0]), uniform(draws, 5, A)
    (one_hot_sample(logits, noise) * pull).sum().backward()
    copy = logits.detach().requires_grad_()
    (F.softmax(copy + gumbel(noise), -1) * pull).sum().backward()
    assert torch.allclose(logits.grad, copy.grad) and logits.grad.any()


def test_an_index_by_hand():
    # of masses 2, 5 and 3 the first ends at .2 and the second at .7
    index = categorical_index(torch.tensor([2.0, 5.0, 3.0]), torch.tensor([0.19, 0.21, 0.69, 0.71]))
    assert index.tolist() == [0, 1, 1, 2]


def test_indices_follow_unnormalised_probabilities(draws):
    probs = torch.tensor([[2.0, 5.0, 3.0], [0.0, 0.0, 4.0]])
    index = categorical_index(probs, uniform(draws, N, 2))
    share = F.one_hot(index, A).float().mean(0)
    assert share[0].tolist() == pytest.approx([0.2, 0.5, 0.3], abs=0.015)
    assert share[1].tolist() == [0, 0, 1]


@pytest.mark.parametrize("impossible", [0, 1, 2])
def test_an_index_without_probability_is_never_drawn(impossible, draws):
    probs = torch.full((A,), 0.5)
    probs[impossible] = 0.0
    assert (categorical_index(probs, uniform(draws, N)) != impossible).all()


def test_extreme_uniform_numbers_stay_in_range():
    probs = torch.tensor([0.1, 0.7, 0.2])
    for extreme, expected in ((0.0, 0), (1 - 2**-24, 2)):
        assert (categorical_index(probs, torch.full((5,), extreme)) == expected).all()


def test_probabilities_broadcast_over_the_draws(draws):
    probs = torch.eye(A).view(A, 1, A)  # row i always draws i
    index = categorical_index(probs, uniform(draws, A, 13))
    assert index.tolist() == [[i] * 13 for i in range(A)]


def test_a_bounded_sample_by_hand():
    # .2 + .5 * .4 = .4; .2 + .5 * 2 is clipped to .2 + .3; .9 + .3 to just below 1
    mean, noise = torch.tensor([0.2, 0.2, 0.9]), torch.tensor([0.4, 2.0, 2.0])
    assert bounded_sample(mean, 0.5, noise).tolist() == pytest.approx([0.4, 0.5, 1.0], abs=1e-5)


def test_bounded_noise_is_clipped_to_three_tenths(draws):
    noise = normal(draws, N)
    spread = bounded_sample(torch.zeros(N), 1.0, noise)
    assert spread.abs().max().item() == pytest.approx(0.3)
    # P(|N(0, 1)| > .3) = .764 lands on the clip
    assert (spread.abs() > 0.2999).float().mean().item() == pytest.approx(0.764, abs=0.02)
    assert bounded_sample(torch.zeros(N), 0.05, noise).std().item() == pytest.approx(0.05, rel=0.03)


def test_bounded_actions_stay_strictly_inside_and_let_every_gradient_through(draws):
    mean = torch.tensor([-1.0, -0.9, 0.0, 0.9, 1.0]).expand(N, 5).clone().requires_grad_()
    action = bounded_sample(mean, 0.5, normal(draws, N, 5))
    assert action.abs().max() < 1
    action.sum().backward()
    assert (mean.grad == 1).all()


def test_one_hot_marks_the_given_place():
    assert one_hot(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
