"""Every loss worked out on paper first, then against a slow loop.

H = 3 steps, B = 7 windows, L = 5 numbers, so that a transposed axis fails.
"""

import math

import pytest
import torch

from lib.core import losses

H, B, L = 3, 7, 5
COEFS = (2.0, 0.5, 0.1)


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def column(*values: float) -> torch.Tensor:
    """(H, 1): one window."""
    return torch.tensor(values).unsqueeze(1)


# Errors and scores -----------------------------------------------------------------------------


def test_model_error_by_hand():
    # differences (1, -2): squared (1 + 4) / 2, absolute (1 + 2) / 2
    predicted, actual = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 3.0]])
    assert losses.model_error(predicted, actual).tolist() == [2.5]
    assert losses.model_error(predicted, actual, "absolute").tolist() == [1.5]


def test_the_prediction_score_is_the_negative_logarithm_with_a_floor():
    # -log(e^-9.5) = 9.5; -log 1 = 0; -log(1e-12) = 27.6 for anything smaller
    error = torch.tensor([math.exp(-9.5), 1.0, 1e-20, 0.0])
    score = losses.prediction_score(error)
    assert score.tolist() == pytest.approx([9.5, 0.0, 27.631, 27.631], abs=1e-3)


def test_a_perfect_prediction_has_a_finite_gradient():
    error = torch.zeros(3, requires_grad=True)
    losses.prediction_score(error).sum().backward()
    assert error.grad.isfinite().all()


# Sums over a window ----------------------------------------------------------------------------


def test_a_windowed_sum_by_hand():
    # 4 + 2/2 + 8/4 = 7
    assert losses.windowed_sum(column(4.0, 2.0, 8.0), 0.5).tolist() == [7.0]


def test_a_windowed_sum_is_capped_per_window():
    # 9999 + 4/2 = 10001 is cut to 10^4, the other window keeps 1 + 1/2
    terms = torch.tensor([[9999.0, 1.0], [4.0, 1.0]])
    assert losses.windowed_sum(terms, 0.5).tolist() == [1e4, 1.5]


def test_a_capped_window_gives_no_gradient():
    terms = torch.tensor([[2e4, 1.0]], requires_grad=True)
    losses.windowed_sum(terms, 0.5).sum().backward()
    assert terms.grad.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
def test_a_windowed_sum_equals_the_loop(rho, draws):
    terms = torch.rand(H, B, generator=draws)
    slow = [sum(rho**k * terms[k, b].item() for k in range(H)) for b in range(B)]
    assert losses.windowed_sum(terms, rho).tolist() == pytest.approx(slow, rel=1e-5)


# Targets ---------------------------------------------------------------------------------------


def test_the_td_target_by_hand():
    # 1 + 0.9 * min(2, 3) = 2.8
    next_q = torch.tensor([[[2.0]], [[3.0]]])
    assert losses.td_target(torch.tensor([[1.0]]), next_q, 0.9).item() == pytest.approx(2.8)


def test_the_td_target_equals_the_loop_and_lets_no_gradient_through(draws):
    reward = torch.randn(H, B, generator=draws)
    next_q = torch.randn(2, H, B, generator=draws, requires_grad=True)
    target = losses.td_target(reward, next_q, 0.97)
    assert not target.requires_grad
    for k in range(H):
        for b in range(B):
            slow = reward[k, b] + 0.97 * min(next_q[0, k, b], next_q[1, k, b])
            assert target[k, b].item() == pytest.approx(slow.item(), rel=1e-5)


# The joint model loss --------------------------------------------------------------------------

# One window of two steps. Consistency .5, .25. Rewards 1 for 0 and 2 for 4: errors 1 and 4.
# Critics (1, 2) and (3, 0) for targets 2 and 1: errors 1 + 1 and 1 + 1.
EXAMPLE = {
    "consistency": column(0.5, 0.25),
    "reward": (column(1.0, 2.0), column(0.0, 4.0)),
    "q": (torch.tensor([[[1.0], [2.0]], [[3.0], [0.0]]]), column(2.0, 1.0)),
    "weight": torch.tensor([2.0]),
}


def test_the_model_loss_by_hand():
    # sums at rho 1/2: .5 + .125 = .625, 1 + 2 = 3, 2 + 1 = 3
    # 2 * .625 + .5 * 3 + .1 * 3 = 3.05, and the window weighs 2
    loss, parts = losses.td_mpc_loss(**EXAMPLE, rho=0.5, coefs=COEFS)
    assert loss.item() == pytest.approx(6.1)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(
        {"consistency": 0.625, "reward": 3.0, "value": 3.0, "total": 3.05}
    )


def test_heads_may_train_on_fewer_steps_than_the_dynamics():
    # reward and value at k = 0 only: 2 * .625 + .5 * 1 + .1 * 2 = 1.95, times 2
    short = dict(EXAMPLE)
    short["reward"] = tuple(part[:1] for part in EXAMPLE["reward"])
    short["q"] = (EXAMPLE["q"][0][:, :1], EXAMPLE["q"][1][:1])
    loss, parts = losses.td_mpc_loss(**short, rho=0.5, coefs=COEFS)
    assert loss.item() == pytest.approx(3.9)
    assert parts["consistency"].item() == pytest.approx(0.625)
    assert (parts["reward"].item(), parts["value"].item()) == (1.0, 2.0)


def test_each_sum_is_capped_before_its_coefficient():
    # every sum is far above 10^4: (2 + .5 + .1) * 10^4
    huge = torch.full((H, 1), 1e9)
    q = torch.full((2, H, 1), 1e9)
    loss, _ = losses.td_mpc_loss(
        huge, (huge, torch.zeros(H, 1)), (q, torch.zeros(H, 1)), torch.ones(1), rho=0.5, coefs=COEFS
    )
    assert loss.item() == pytest.approx(2.6e4)


@pytest.mark.parametrize("steps", [1, H])
def test_the_model_loss_equals_the_loop(steps, draws):
    consistency = torch.rand(H, B, generator=draws)
    reward, actual = torch.randn(2, H, B, generator=draws)
    q, target = torch.randn(2, H, B, generator=draws), torch.randn(H, B, generator=draws)
    weight = torch.rand(B, generator=draws)
    rho, total = 0.7, 0.0
    for b in range(B):
        c = r = v = 0.0
        for k in range(H):
            c += rho**k * consistency[k, b].item()
            if k < steps:
                r += rho**k * (reward[k, b] - actual[k, b]).item() ** 2
                v += rho**k * sum((q[j, k, b] - target[k, b]).item() ** 2 for j in range(2))
        total += weight[b].item() * (2 * c + 0.5 * r + 0.1 * v) / B
    loss, _ = losses.td_mpc_loss(
        consistency,
        (reward[:steps], actual[:steps]),
        (q[:, :steps], target[:steps]),
        weight,
        rho=rho,
        coefs=COEFS,
    )
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_the_parts_of_the_loss_carry_no_gradient(draws):
    consistency = torch.rand(H, B, generator=draws, requires_grad=True)
    zeros = torch.zeros(H, B)
    loss, parts = losses.td_mpc_loss(
        consistency,
        (zeros, zeros),
        (torch.zeros(2, H, B), zeros),
        torch.ones(B),
        rho=0.5,
        coefs=COEFS,
    )
    assert loss.requires_grad and not any(part.requires_grad for part in parts.values())


# Priorities ------------------------------------------------------------------------------------


def test_the_learners_priority_by_hand():
    # step 0: |1 - 2| + |3 - 2| = 2, step 1: |2 - 1| + |0 - 1| = 2; 2 + 2/2 = 3
    priority = losses.td_priorities(*EXAMPLE["q"], 0.5)
    assert priority.tolist() == pytest.approx([3.0], abs=1e-5)


def test_the_reviewers_priority_adds_its_reward_plus_two():
    # rewards -.5 and .5: (2 + 1.5) + (2 + 2.5)/2 = 5.75
    priority = losses.td_priorities(*EXAMPLE["q"], 0.5, column(-0.5, 0.5))
    assert priority.tolist() == pytest.approx([5.75], abs=1e-5)


def test_priorities_are_positive_and_capped():
    zero, huge = torch.zeros(2, H, 1), torch.full((2, H, 1), 1e9)
    assert losses.td_priorities(zero, torch.zeros(H, 1), 0.5).tolist() == pytest.approx([1e-6])
    assert losses.td_priorities(huge, torch.zeros(H, 1), 0.5).tolist() == pytest.approx([1e4])


@pytest.mark.parametrize("reviewed", [False, True])
def test_priorities_equal_the_loop(reviewed, draws):
    q, target = torch.randn(2, H, B, generator=draws), torch.randn(H, B, generator=draws)
    reward = torch.rand(H, B, generator=draws) - 0.5 if reviewed else None
    slow = []
    for b in range(B):
        terms = [sum(abs((q[j, k, b] - target[k, b]).item()) for j in range(2)) for k in range(H)]
        if reviewed:
            terms = [term + reward[k, b].item() + 2 for k, term in enumerate(terms)]
        slow.append(sum(0.6**k * term for k, term in enumerate(terms)) + 1e-6)
    assert losses.td_priorities(q, target, 0.6, reward).tolist() == pytest.approx(slow, rel=1e-5)


# Policy ----------------------------------------------------------------------------------------


def test_the_policy_loss_by_hand():
    # two latents, two windows. Smaller critic: (1, 1) and (2, 0), means 1 and 1: -(1 + 1/2)
    q = torch.tensor([[[1.0, 3.0], [2.0, 2.0]], [[2.0, 1.0], [4.0, 0.0]]])
    assert losses.policy_loss(q, 0.5).item() == pytest.approx(-1.5)


def test_the_policy_loss_equals_the_loop(draws):
    q = torch.randn(2, H + 1, B, generator=draws)
    slow = -sum(
        0.7**k * sum(min(q[0, k, b], q[1, k, b]).item() for b in range(B)) / B for k in range(H + 1)
    )
    assert losses.policy_loss(q, 0.7).item() == pytest.approx(slow, rel=1e-5)


# The generator ---------------------------------------------------------------------------------


def test_the_vae_loss_by_hand():
    # reconstruction ((1 - 0)^2 + 0) / 2 = .5
    # KL of code 0: mean 1, variance 1: (1 + 1 - 1 - 0) / 2 = .5
    # KL of code 1: mean 0, variance 4: (4 + 0 - 1 - log 4) / 2 = .8069; averaged .6534
    loss, parts = losses.vae_loss(
        torch.tensor([[1.0, 0.0]]),
        torch.zeros(1, 2),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[0.0, math.log(4.0)]]),
        beta=2.0,
    )
    assert parts["reconstruction"].item() == pytest.approx(0.5)
    assert parts["kl"].item() == pytest.approx(0.6534, abs=1e-4)
    assert loss.item() == pytest.approx(0.5 + 2 * 0.6534, abs=1e-3)


def test_a_standard_normal_code_costs_nothing():
    zero = torch.zeros(B, 11)
    assert losses.vae_loss(zero, zero, zero, zero, 1.0)[0].item() == 0


def test_the_vae_loss_equals_the_loop(draws):
    x, back = torch.randn(2, B, L, generator=draws)
    mean, log_var = torch.randn(2, B, 11, generator=draws)
    recon = sum((x[i, d] - back[i, d]).item() ** 2 for i in range(B) for d in range(L)) / (B * L)
    kl = 0.0
    for i in range(B):
        for j in range(11):
            m, lv = mean[i, j].item(), log_var[i, j].item()
            kl += -0.5 * (1 + lv - m**2 - math.exp(lv)) / (B * 11)
    loss, _ = losses.vae_loss(x, back, mean, log_var, 0.02)
    assert loss.item() == pytest.approx(recon + 0.02 * kl, rel=1e-5)


# The reviewer's reward -------------------------------------------------------------------------


def review(old: float, now: float, **kwargs: object) -> float:
    error = torch.tensor([old]), torch.tensor([now])
    return losses.review_reward(*error, 9.5, **kwargs).item()


def test_the_review_reward_by_hand():
    at_threshold = math.exp(-9.5)
    # both at the threshold: sigmoid(0) - .5 sigmoid(0)
    assert review(at_threshold, at_threshold) == pytest.approx(0.25, abs=1e-5)
    # old one nat above it, current one nat below: sigmoid(4) - .5 sigmoid(-1)
    expected = 1 / (1 + math.exp(-4)) - 0.5 / (1 + math.exp(1))
    assert review(math.exp(-10.5), math.exp(-8.5)) == pytest.approx(expected, abs=1e-4)


def test_the_review_reward_is_one_half_where_both_models_are_perfect():
    # scores 27.6 against 9.5: both sigmoids are 1, so 1 - .5
    assert review(0.0, 0.0) == pytest.approx(0.5, abs=1e-4)


def test_the_review_reward_is_largest_where_the_current_model_forgot_what_the_old_one_knew():
    forgot, never_knew, learnt = review(0.0, 1.0), review(1.0, 1.0), review(1.0, 0.0)
    assert forgot == pytest.approx(1.0, abs=1e-3)
    assert never_knew == pytest.approx(0.0, abs=1e-3)
    assert learnt == pytest.approx(-0.5, abs=1e-3)


def test_the_review_reward_stays_between_minus_the_cost_and_one(draws):
    errors = torch.exp(30 * torch.rand(2, 997, generator=draws) - 25)
    for cost in (0.0, 0.5, 1.0):
        reward = losses.review_reward(errors[0], errors[1], 9.5, cost=cost)
        assert -cost <= reward.min() and reward.max() <= 1


def test_the_review_reward_falls_as_the_old_model_worsens_and_as_the_current_one_improves():
    error = torch.logspace(-6, 0, 13)
    fixed = torch.full_like(error, 1e-4)
    by_old = losses.review_reward(error, fixed, 9.5)
    by_now = losses.review_reward(fixed, error, 9.5)
    assert (by_old.diff() <= 0).all() and by_old[0] - by_old[-1] > 0.9
    assert (by_now.diff() >= 0).all() and by_now[-1] - by_now[0] > 0.4


def test_the_papers_shape_has_neither_threshold_nor_slope():
    # sigmoid(2) - .5 sigmoid(1), whatever the threshold
    paper = review(math.exp(-2.0), math.exp(-1.0), shape="paper", sharpness=9.0)
    expected = 1 / (1 + math.exp(-2)) - 0.5 / (1 + math.exp(-1))
    assert paper == pytest.approx(expected, abs=1e-5)


def test_the_slope_applies_to_the_old_models_term_alone():
    # one nat above the threshold: only the first sigmoid changes from sigmoid(1) to sigmoid(4)
    e = math.exp(-10.5)
    difference = review(e, e, sharpness=4.0) - review(e, e, sharpness=1.0)
    expected = 1 / (1 + math.exp(-4)) - 1 / (1 + math.exp(-1))
    assert difference == pytest.approx(expected, abs=1e-4)


# Consolidation ---------------------------------------------------------------------------------


def test_the_consolidation_penalty_by_hand():
    # half of 2 * (3 - 1)^2 + 5 * (1 - 1)^2 = 4
    penalty = losses.ewc_penalty(
        [torch.tensor([3.0]), torch.tensor([[1.0]])],
        [torch.tensor([1.0]), torch.tensor([[1.0]])],
        [torch.tensor([2.0]), torch.tensor([[5.0]])],
    )
    assert penalty.item() == 4.0


def test_the_consolidation_penalty_equals_the_loop_and_pulls_back_to_the_anchors(draws):
    shapes = [(3, 5), (7,)]
    values, anchors, fisher = (
        [torch.rand(shape, generator=draws) for shape in shapes] for _ in range(3)
    )
    for value in values:
        value.requires_grad_()
    slow = 0.0
    for p, a, f in zip(values, anchors, fisher, strict=True):
        for x, y, z in zip(p.flatten(), a.flatten(), f.flatten(), strict=True):
            slow += 0.5 * z.item() * (x - y).item() ** 2
    penalty = losses.ewc_penalty(values, anchors, fisher)
    penalty.backward()
    assert penalty.item() == pytest.approx(slow, rel=1e-5)
    assert torch.allclose(values[0].grad, fisher[0] * (values[0] - anchors[0]).detach())
