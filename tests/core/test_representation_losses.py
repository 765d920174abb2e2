"""Losses of prototypes, contrast and redundancy, by hand and against slow loops."""

import math

import pytest
import torch
from torch.distributions import Normal
from torch.nn import functional as F

from lib.core import representation_losses as losses

T, B, Z, K, N = 3, 5, 4, 6, 20


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_uniform_scores_are_assigned_evenly():
    assigned = losses.sinkhorn(torch.zeros(K, N), 0.05, 3)
    torch.testing.assert_close(assigned, torch.full((K, N), 1 / K))


def test_columns_of_an_assignment_sum_to_one_and_rows_about_to_their_share():
    assigned = losses.sinkhorn(draws(K, N), 0.5, 20)
    torch.testing.assert_close(assigned.sum(0), torch.ones(N), atol=1e-5, rtol=0)
    torch.testing.assert_close(assigned.sum(1), torch.full((K,), N / K), atol=0.05, rtol=0)


def test_an_assignment_equals_scaling_rows_and_columns_in_turns():
    scores = draws(K, N).double()
    q = (scores / 0.3).exp()
    q = q / q.sum()
    for _ in range(3):
        for k in range(K):
            q[k] = q[k] / q[k].sum() / K
        for n in range(N):
            q[:, n] = q[:, n] / q[:, n].sum() / N
    found = losses.sinkhorn(scores, 0.3, 3)
    torch.testing.assert_close(found.double(), q * N, rtol=1e-4, atol=1e-6)


def test_two_samples_and_two_prototypes_by_hand():
    # both prefer prototype 0, sample 0 more so. Even rows and columns leave one number, a, and
    # scaling keeps the cross ratio exp(2 - 1): (a / (1 - a))^2 = e
    a = 1 / (1 + math.exp(-0.5))
    assigned = losses.sinkhorn(torch.tensor([[2.0, 1.0], [0.0, 0.0]]), 1.0, 50)
    torch.testing.assert_close(assigned, torch.tensor([[a, 1 - a], [1 - a, a]]))


def test_a_small_epsilon_does_not_overflow():
    assigned = losses.sinkhorn(draws(K, N) * 20, 0.0125, 3)
    assert torch.isfinite(assigned).all()
    torch.testing.assert_close(assigned.sum(0), torch.ones(N), atol=1e-4, rtol=0)


def test_targets_carry_no_gradient():
    scores = draws(K, N).requires_grad_()
    assert not losses.sinkhorn(scores, 0.1, 3).requires_grad


def test_the_cross_entropy_of_an_even_guess_is_log_k():
    target = losses.sinkhorn(draws(K, N), 0.1, 3)
    even = torch.full((K, N), -math.log(K))
    assert losses.assignment_loss(even, target).item() == pytest.approx(math.log(K), rel=1e-5)


def test_each_view_predicts_the_other():
    one, two = (F.log_softmax(draws(K, N, seed=s), 0) for s in (1, 2))
    w_one, w_two = (F.softmax(draws(K, N, seed=s), 0) for s in (3, 4))
    slow = 0.0
    for n in range(N):
        for k in range(K):
            slow -= 0.5 * (w_two[k, n] * one[k, n] + w_one[k, n] * two[k, n]) / N
    found = losses.swapped_assignment_loss((one, two), (w_one, w_two))
    torch.testing.assert_close(found, slow)


def test_the_penalty_is_zero_at_length_one():
    assert losses.norm_penalty(torch.tensor([[0.6, 0.8], [1.0, 0.0]])).item() == pytest.approx(0)
    # lengths 5 and 0
    assert losses.norm_penalty(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).item() == 8.5


def gaussians():
    query, mean = draws(T, B, Z, seed=1), draws(T, B, Z, seed=2)
    return query, mean, 0.3 + draws(T, B, Z, seed=3).abs()


def test_scores_are_log_densities_of_every_pair():
    query, mean, std = gaussians()
    found = losses.normal_scores(query, mean, std)
    for t in range(T):
        for i in range(B):
            for j in range(B):
                slow = Normal(mean[t, j], std[t, j]).log_prob(query[t, i]).sum()
                torch.testing.assert_close(found[t, i, j], slow, rtol=1e-4, atol=1e-4)


def test_contrast_equals_a_slow_cross_entropy():
    query, mean, std = gaussians()
    scores = losses.normal_scores(query, mean, std)
    found = losses.info_nce(query, mean, std)
    for t in range(T):
        slow = F.cross_entropy(scores[t], torch.arange(B), reduction="none")
        torch.testing.assert_close(found[t], slow)


def test_contrast_is_log_b_where_nothing_tells_sequences_apart():
    same = torch.zeros(T, 32, Z)
    found = losses.info_nce(draws(T, 32, Z), same, same + 0.2)
    torch.testing.assert_close(found, torch.full((T, 32), math.log(32)), rtol=1e-4, atol=1e-4)


def test_redundancy_by_hand():
    one = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])  # uncorrelated
    assert losses.redundancy_loss(one, 3 * one + 2, 0.5).item() == pytest.approx(0, abs=1e-5)
    swapped = one.flip(1)  # C = [[0, 1], [1, 0]]
    assert losses.redundancy_loss(one, swapped, 0.5).item() == pytest.approx(2 + 0.5 * 2, rel=1e-5)
    repeated = one[:, :1].expand(-1, 2)  # C = [[1, 1], [1, 1]] with itself
    assert losses.redundancy_loss(repeated, repeated, 0.5).item() == pytest.approx(1, rel=1e-5)


def test_a_shift_by_whole_pixels_moves_the_picture_and_repeats_the_edge():
    images = draws(2, 3, 8, 8)
    found = losses.shifted(images, torch.tensor([[1.0, 0.0], [0.0, -2.0]]))
    torch.testing.assert_close(found[0, :, :, :-1], images[0, :, :, 1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[0, :, :, -1], images[0, :, :, -1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1, :, 2:], images[1, :, :-2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1, :, 0], images[1, :, 0], rtol=1e-4, atol=1e-4)


def test_a_shift_by_half_a_pixel_averages_neighbours():
    images = draws(1, 1, 1, 6)
    found = losses.shifted(images, torch.tensor([[0.5, 0.0]]))
    wanted = (images[..., :-1] + images[..., 1:]) / 2
    torch.testing.assert_close(found[..., :-1], wanted, rtol=1e-4, atol=1e-4)


def test_no_shift_is_the_picture_itself():
    images = draws(2, 3, 5, 7)
    torch.testing.assert_close(
        losses.shifted(images, torch.zeros(2, 2)), images, rtol=1e-4, atol=1e-4
    )
