"""Dreamer's losses: worked out on paper first, then against a slow loop.

H = 5 steps, N = 3 rollouts, P = 7 statistics, so that a transposed axis fails.
"""

import math

import pytest
import torch
from torch.distributions import Categorical, Normal, TanhTransform, TransformedDistribution

from lib.core import distributions, losses
from lib.core.distributions import categorical_kl

H, N, P = 5, 3, 7


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def column(*values: float) -> torch.Tensor:
    """(H, 1): one rollout."""
    return torch.tensor(values).unsqueeze(1)


# Returns ---------------------------------------------------------------------------------------


def test_a_lambda_return_by_hand():
    # R_2 = V = 8. R_1 = 2 + 0.5 (0.5 * 8 + 0.5 * 8) = 6. R_0 = 1 + 0.5 (0.5 * 4 + 0.5 * 6) = 3.5
    found = losses.lambda_return(column(1.0, 2.0), column(0.5, 0.5), column(4.0, 8.0), 0.5)
    assert found.tolist() == [[3.5], [6.0]]


def test_a_lambda_of_zero_trusts_the_critic_and_of_one_the_rollout():
    # 0: 1 + 0.5 * 4 and 2 + 0.5 * 8. 1: R_1 = 2 + 0.5 * 8 = 6, R_0 = 1 + 0.5 * 6
    inputs = column(1.0, 2.0), column(0.5, 0.5), column(4.0, 8.0)
    assert losses.lambda_return(*inputs, 0.0).tolist() == [[3.0], [6.0]]
    assert losses.lambda_return(*inputs, 1.0).tolist() == [[4.0], [6.0]]


def test_lambda_returns_equal_a_slow_loop(draws):
    reward, value = (torch.randn(H, N, generator=draws) for _ in range(2))
    discount = torch.rand(H, N, generator=draws)
    found = losses.lambda_return(reward, discount, value, 0.7)
    for row in range(N):
        ahead = value[H - 1, row].item()
        for k in reversed(range(H)):
            mixed = 0.3 * value[k, row].item() + 0.7 * ahead
            ahead = reward[k, row].item() + discount[k, row].item() * mixed
            assert found[k, row].item() == pytest.approx(ahead, abs=1e-5)


def test_an_end_cuts_everything_behind_it():
    # d_0 = 0: R_0 is the reward alone, whatever follows
    found = losses.lambda_return(column(1.0, 2.0), column(0.0, 0.9), column(50.0, 70.0), 0.95)
    assert found[0].tolist() == [1.0]


def test_a_lambda_return_carries_gradients():
    reward, value = column(1.0, 2.0).requires_grad_(), column(4.0, 8.0).requires_grad_()
    losses.lambda_return(reward, column(0.5, 0.5), value, 0.5)[0].sum().backward()
    # dR_0/dr_1 = 0.5 * 0.5; dR_0/dV_1 = 0.5 * 0.5, dR_0/dV_2 = 0.25 (0.5 * 0.5 + 0.5 * 0.5)
    assert reward.grad.tolist() == [[1.0], [0.25]]
    assert value.grad.tolist() == [[0.25], [0.125]]


@pytest.mark.parametrize("lam", [-0.1, 1.1])
def test_a_lambda_outside_its_range_is_refused(lam):
    with pytest.raises(ValueError, match=rf"lam is {lam}; it must lie in \[0, 1\]"):
        losses.lambda_return(column(1.0), column(1.0), column(1.0), lam)


def test_lambda_returns_refuse_a_value_of_all_states():
    with pytest.raises(ValueError, match=r"\(2, 1\), \(2, 1\), \(3, 1\); they must agree"):
        losses.lambda_return(column(1, 2), column(1, 1), column(1, 2, 3), 0.5)


def test_rollout_weights_by_hand():
    # 1, d_0, d_0 d_1; the last discount weighs nothing
    found = losses.rollout_weights(column(0.5, 0.8, 0.3).requires_grad_())
    assert found.flatten().tolist() == pytest.approx([1.0, 0.5, 0.4])
    assert not found.requires_grad


# Actor and critic ------------------------------------------------------------------------------


def test_the_critics_loss_by_hand():
    # errors 2 and 4, weights 1 and 0.5: (1 * 4 / 2 + 0.5 * 16 / 2) / 2 = 3
    value, returns = column(1.0, 1.0).requires_grad_(), column(3.0, 5.0).requires_grad_()
    loss = losses.critic_loss(value, returns, column(1.0, 0.5))
    assert loss.item() == 3.0
    loss.backward()
    assert returns.grad is None and value.grad.flatten().tolist() == [-1.0, -1.0]


def test_the_actors_loss_by_hand():
    # -(1 * (2 + 0.1 * 3) + 0.5 * (4 + 0.1 * 5)) / 2 = -2.275
    loss = losses.actor_loss(column(2.0, 4.0), column(3.0, 5.0), column(1.0, 0.5), 0.1)
    assert loss.item() == pytest.approx(-2.275)


def test_the_advantage_is_one_step_ahead_of_its_baseline():
    # log pi(a_1 | s_0) is paid R_1 - V_0 = 7 - 1, log pi(a_2 | s_1) R_2 - V_1 = 9 - 2
    log_prob = column(-1.0, -2.0).requires_grad_()
    returns, value = column(5.0, 7.0, 9.0).requires_grad_(), column(1.0, 2.0, 3.0).requires_grad_()
    objective = losses.reinforce_objective(log_prob, returns, value)
    assert objective.tolist() == [[-6.0], [-14.0]]
    objective.sum().backward()
    assert returns.grad is None and value.grad is None
    assert log_prob.grad.flatten().tolist() == [6.0, 7.0]


# Model -----------------------------------------------------------------------------------------


def test_a_balanced_kl_is_the_weighted_sum_of_two_stopped_ones(draws):
    q, p = (torch.randn(H, N, P, generator=draws, requires_grad=True) for _ in range(2))
    loss, plain = losses.balanced_kl(categorical_kl, q, p, 0.8)
    slow = 0.8 * categorical_kl(q.detach(), p).mean() + 0.2 * categorical_kl(q, p.detach()).mean()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-6) == plain.item()
    for mine, theirs in zip(
        torch.autograd.grad(loss, (q, p)), torch.autograd.grad(slow, (q, p)), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("balance", "posterior", "prior"), [(1.0, False, True), (0.0, True, False)]
)
def test_the_balance_decides_which_side_learns(draws, balance, posterior, prior):
    q, p = (torch.randn(H, N, P, generator=draws, requires_grad=True) for _ in range(2))
    loss, _ = losses.balanced_kl(categorical_kl, q, p, balance)
    of_q, of_p = torch.autograd.grad(loss, (q, p))
    assert (bool(of_q.any()), bool(of_p.any())) == (posterior, prior)


def test_free_nats_clip_the_average_not_each_record():
    # KLs 3 and 0 average 1.5: above 1 nat nothing changes, below 2 nothing is trained
    posterior = torch.tensor([3.0, 0.0], requires_grad=True)

    def kl(q, p):
        return q - p

    loss, plain = losses.balanced_kl(kl, posterior, torch.zeros(2), 0.5, 1.0)
    assert loss.item() == plain.item() == 1.5
    loss, plain = losses.balanced_kl(kl, posterior, torch.zeros(2), 0.5, 2.0)
    loss.backward()
    assert (loss.item(), plain.item()) == (2.0, 1.5) and not posterior.grad.any()


def test_half_a_squared_error_is_summed_over_the_last_axes_only(draws):
    # differences (1, -2) and (0, 4): 2.5 and 8
    predicted, actual = torch.tensor([[1.0, 1.0], [2.0, 0.0]]), torch.tensor([[0.0, 3.0], [2, 4]])
    assert losses.half_squared_error(predicted, actual, 1).tolist() == [2.5, 8.0]
    assert losses.half_squared_error(predicted, actual, 2).item() == 10.5
    assert losses.half_squared_error(predicted, actual, 0).shape == (2, 2)


def test_soft_targets_are_matched_in_the_mean():
    # at logit 0 the loss is log 2 for every target; the gradient is the error of the mean
    logit = torch.zeros(3, requires_grad=True)
    target = torch.tensor([0.0, 0.99, 1.0])
    loss = losses.soft_cross_entropy(logit, target)
    assert loss.tolist() == pytest.approx([math.log(2)] * 3)
    loss.sum().backward()
    assert logit.grad.tolist() == pytest.approx([0.5, -0.49, -0.5])


# Distributions ---------------------------------------------------------------------------------


def test_straight_through_samples_are_exact_and_learn_through_the_probabilities(draws):
    probs = torch.softmax(torch.randn(H, N, P, generator=draws), -1).requires_grad_()
    sample = distributions.straight_through(probs, torch.rand(H, N, generator=draws))
    assert ((sample == 0) | (sample == 1)).all() and (sample.sum(-1) == 1).all()
    weight = torch.randn(H, N, P, generator=draws)
    (sample * weight).sum().backward()
    torch.testing.assert_close(probs.grad, weight)


def test_categorical_divergence_and_entropy_agree_with_pytorch(draws):
    q, p = (torch.randn(H, N, P, generator=draws) for _ in range(2))
    theirs = torch.distributions.kl_divergence(Categorical(logits=q), Categorical(logits=p))
    torch.testing.assert_close(distributions.categorical_kl(q, p), theirs)
    theirs = Categorical(logits=q).entropy()
    torch.testing.assert_close(distributions.categorical_entropy(q), theirs)


def test_normal_divergence_and_entropy_agree_with_pytorch(draws):
    mean_q, mean_p = (torch.randn(H, N, generator=draws) for _ in range(2))
    std_q, std_p = (torch.rand(H, N, generator=draws) + 0.1 for _ in range(2))
    theirs = torch.distributions.kl_divergence(Normal(mean_q, std_q), Normal(mean_p, std_p))
    torch.testing.assert_close(distributions.normal_kl(mean_q, std_q, mean_p, std_p), theirs)
    theirs = Normal(mean_q, std_q).entropy()
    torch.testing.assert_close(distributions.normal_entropy(std_q), theirs)


def test_a_squashed_normals_density_agrees_with_pytorch_and_stays_finite(draws):
    mean, raw = torch.randn(H, N, generator=draws), torch.randn(H, N, generator=draws)
    std = torch.rand(H, N, generator=draws) + 0.1
    squashed = TransformedDistribution(Normal(mean, std), TanhTransform())
    found = distributions.tanh_normal_log_prob(raw, mean, std)
    torch.testing.assert_close(found, squashed.log_prob(torch.tanh(raw)), rtol=1e-3, atol=1e-3)
    far = torch.tensor([-60.0, 60.0])
    assert distributions.tanh_normal_log_prob(far, far, torch.ones(2)).isfinite().all()
