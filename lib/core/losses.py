"""Losses and learning signals as pure functions: tensors in, tensors out, no configuration.

Shapes: H steps of a window, B windows, L observation size, A action size. Time comes first.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# TD-MPC and DRAGO -----------------------------------------------------------------------------

ERROR_FLOOR = 1e-12  # keeps -log(error) finite where a model is exact
STEP_SUM_CAP = 1e4  # most that one of the three sums of a window may weigh (TD-MPC)
PRIORITY_CAP = 1e4
PRIORITY_EPS = 1e-6


def model_error(predicted: Tensor, actual: Tensor, norm: str = "squared") -> Tensor:
    """Averages a prediction's error over the observation's dimensions: (..., L) to (...).

    `norm` "squared" is the published code's, "absolute" the paper's figure.
    """
    difference = predicted - actual
    return (difference.abs() if norm == "absolute" else difference.square()).mean(-1)


def prediction_score(error: Tensor) -> Tensor:
    """Returns -log(error), floored so that an exact prediction scores 27.6, not infinity."""
    return -torch.log(error.clamp_min(ERROR_FLOOR))


def temporal_weights(steps: int, rho: float, like: Tensor) -> Tensor:
    """Returns rho**k for k = 0..steps-1, shape (steps, 1)."""
    return (rho ** torch.arange(steps, device=like.device, dtype=like.dtype)).unsqueeze(1)


def windowed_sum(terms: Tensor, rho: float) -> Tensor:
    """Sums rho**k terms_k over k, capped at 1e4 per window: (H, B) to (B,)."""
    return (temporal_weights(terms.shape[0], rho, terms) * terms).sum(0).clamp_max(STEP_SUM_CAP)


def td_target(reward: Tensor, next_q: Tensor, discount: float) -> Tensor:
    """Computes y = r + discount * min over the two target critics, detached.

    Args:
        reward: (H, B).
        next_q: (2, H, B) target critics at the true next observation and the policy's action.

    Source: TD-MPC eq. 5 with the true next observation, as DRAGO's code has it.
    """
    return (reward + discount * next_q.amin(0)).detach()


def td_mpc_loss(
    consistency: Tensor,
    reward: tuple[Tensor, Tensor],
    q: tuple[Tensor, Tensor],
    weight: Tensor,
    *,
    rho: float,
    coefs: tuple[float, float, float],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Computes the joint model loss of TD-MPC.

    Args:
        consistency: (H, B) mean squared error of the unrolled latents.
        reward: predicted and actual, each (K, B); K is H, or fewer to train the first steps only.
        q: predicted (2, K, B) and target (K, B).
        weight: (B,) importance weights of the windows.
        rho: weight of step k is rho**k.
        coefs: consistency, reward and value coefficient.

    Returns:
        The weighted mean loss, and its unweighted parts (means over the batch).

    Source: TD-MPC eq. 9.
    """
    reward_error = (reward[0] - reward[1]).square()
    value_error = (q[0] - q[1]).square().sum(0)
    sums = [windowed_sum(terms, rho) for terms in (consistency, reward_error, value_error)]
    total = sum(c * s for c, s in zip(coefs, sums, strict=True))
    parts = {
        "consistency": sums[0].mean(),
        "reward": sums[1].mean(),
        "value": sums[2].mean(),
        "total": total.mean(),
    }
    return (weight * total).mean(), {name: part.detach() for name, part in parts.items()}


def td_priorities(q: Tensor, target: Tensor, rho: float, reward: Tensor | None = None) -> Tensor:
    """Computes replay priorities sum_k rho**k (|Q1 - y| + |Q2 - y|), capped and positive: (B,).

    Args:
        q: (2, H, B); target: (H, B).
        reward: (H, B) for the reviewer, whose priority adds r_k + 2.
    """
    terms = (q - target).abs().sum(0)
    if reward is not None:
        terms = terms + reward + 2.0
    weights = temporal_weights(terms.shape[0], rho, terms)
    return (weights * terms).sum(0).clamp(max=PRIORITY_CAP) + PRIORITY_EPS


def policy_loss(q: Tensor, rho: float) -> Tensor:
    """Sums -rho**k mean_B min_j Q_j(z_k, pi(z_k)) over the H + 1 latents: (2, H+1, B) to ()."""
    values = q.amin(0).mean(-1, keepdim=True)  # (H+1, 1)
    return -(temporal_weights(values.shape[0], rho, values) * values).sum()


def vae_loss(
    x: Tensor, reconstruction: Tensor, mean: Tensor, log_var: Tensor, beta: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean squared reconstruction plus beta times the KL, both averaged over every entry.

    Args:
        x, reconstruction: (B, D). mean, log_var: (B, code).

    Note: the KL is averaged (not summed) over the code, as in the published code.
    """
    recon = F.mse_loss(reconstruction, x)
    kl = (-0.5 * (1 + log_var - mean.square() - log_var.exp())).mean()
    return recon + beta * kl, {"reconstruction": recon.detach(), "kl": kl.detach()}


def review_parts(
    old_error: Tensor,
    current_error: Tensor,
    threshold: float | Tensor,
    *,
    sharpness: float = 4.0,
    cost: float = 0.5,
    shape: str = "code",
) -> tuple[Tensor, Tensor]:
    """Computes what the reviewer gains where the old model knew, and pays where today's still does.

    sigmoid(sharpness * (-log e_old - tau)) and cost * sigmoid(-log e_now - tau).

    Args:
        old_error, current_error: (...) errors of the frozen and the current model.
        threshold: tau, in units of -log(error).
        shape: "paper" drops the threshold and the slope.

    Source: DRAGO, method figure; threshold and slope from the published code.
    """
    old, now = prediction_score(old_error), prediction_score(current_error)
    if shape == "paper":
        return torch.sigmoid(old), cost * torch.sigmoid(now)
    return torch.sigmoid(sharpness * (old - threshold)), cost * torch.sigmoid(now - threshold)


def review_reward(
    old_error: Tensor, current_error: Tensor, threshold: float | Tensor, **options: Any
) -> Tensor:
    """Computes the reviewer's reward, the difference of `review_parts`: (...), in (-cost, 1).

    High where the old model knew the transition and the current one has lost it.
    """
    known, cost = review_parts(old_error, current_error, threshold, **options)
    return known - cost


def ewc_penalty(
    parameters: Iterable[Tensor], anchors: Iterable[Tensor], fisher: Iterable[Tensor]
) -> Tensor:
    """Half the Fisher-weighted squared distance from the anchors, a scalar.

    Source: Kirkpatrick et al. 2017, eq. 3.
    """
    terms = [
        (f * (p - a).square()).sum() for p, a, f in zip(parameters, anchors, fisher, strict=True)
    ]
    return 0.5 * torch.stack(terms).sum()


# Dreamer --------------------------------------------------------------------------------------
# T records, B sequences, H imagined steps, N imagined rows. Step k of a rollout is the state that
# k actions led to; state 0 is replayed.


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """Returns the same values, whose gradient arrives multiplied by `scale`."""
    return x.detach() + scale * (x - x.detach())  # the bracket is exactly zero


def balanced_kl(
    kl: Callable[[Tensor, Tensor], Tensor],
    posterior: Tensor,
    prior: Tensor,
    balance: float,
    free_nats: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Computes KL(posterior || prior) so that it trains the prior more than the posterior.

    balance * KL(sg q || p) + (1 - balance) * KL(q || sg p): both terms have the value of the plain
    KL, and each has the gradient of one side, so one KL with scaled gradients is the same.

    Args:
        kl: of statistics (..., P) and (..., P) to (...).
        balance: share that trains the prior.
        free_nats: an average below this is not trained on.

    Returns:
        The scalar loss, and the average without free nats for the log.

    Source: DreamerV2, algorithm 2; free nats clip the average, as in its code.
    """
    average = kl(scaled_gradient(posterior, 1 - balance), scaled_gradient(prior, balance)).mean()
    return average.clamp_min(free_nats) if free_nats else average, average.detach()


def half_squared_error(predicted: Tensor, actual: Tensor, dims: int) -> Tensor:
    """Sums half the squared error over the last `dims` axes.

    The negative log-likelihood of a normal distribution with unit variance, without its constant.
    """
    error = 0.5 * (predicted - actual).square()
    return error.flatten(-dims).sum(-1) if dims else error


def soft_cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    """Computes binary cross-entropy with targets anywhere in [0, 1], elementwise."""
    return F.softplus(logit) - target * logit


def lambda_return(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
    """Averages n-step returns into what the critic is asked to predict.

    R_k = r_k + d_k [(1 - lam) V_{k+1} + lam R_{k+1}], and R_H = V_H.

    Args:
        reward: (H, ...) of states 0..H-1, received on entering them [task units].
        discount: (H, ...) of the same states, gamma times the chance of continuing from there.
        value: (H, ...) critic's estimate V_{k+1} at the state that follows.
        lam: 0 trusts the critic after one step, 1 trusts the rollout.

    Returns:
        (H, ...) targets, one for each of the states 0..H-1. Gradients flow, so callers detach
        for the critic.

    Raises:
        ValueError: shapes disagree, or lam lies outside [0, 1].

    Source: DreamerV2, eq. 4. Differs: discount is predicted per step.
    """
    if not (reward.shape == discount.shape == value.shape):
        shapes = ", ".join(str(tuple(x.shape)) for x in (reward, discount, value))
        raise ValueError(f"reward, discount and value have shapes {shapes}; they must agree")
    if not 0 <= lam <= 1:
        raise ValueError(f"lam is {lam}; it must lie in [0, 1]")
    after = reward + discount * value * (1 - lam)  # (H, ...), all but what lies further ahead
    ahead = lam * discount
    returns = [value[-1]]
    for now, factor in zip(reversed(after.unbind()), reversed(ahead.unbind()), strict=True):
        returns.append(torch.addcmul(now, factor, returns[-1]))
    return torch.stack(returns[:0:-1])


def rollout_weights(discount: Tensor) -> Tensor:
    """Computes w_0 = 1, w_k = d_0 ... d_{k-1}, step k's chance: (H, ...), detached."""
    discount = discount.detach()
    return torch.cat((torch.ones_like(discount[:1]), discount[:-1])).cumprod(0)


def critic_loss(value: Tensor, returns: Tensor, weight: Tensor) -> Tensor:
    """Averages w_k (v_k - sg R_k)^2 / 2 over k = 0..H-1: three times (H, N) to ()."""
    return (weight * half_squared_error(value, returns.detach(), 0)).mean()


def actor_loss(objective: Tensor, entropy: Tensor, weight: Tensor, eta: float) -> Tensor:
    """Averages -w_k [objective_k + eta H_k] over k = 0..H-2: three times (H-1, N) to ().

    Args:
        objective: `reinforce_objective`, or R_{k+1} itself where gradients flow through a model.
        entropy: of the policy in state k.

    Source: DreamerV2, eq. 6.
    """
    return -(weight * (objective + eta * entropy)).mean()


def reinforce_objective(log_prob: Tensor, returns: Tensor, baseline: Tensor) -> Tensor:
    """Computes log pi(a_{k+1} | s_k) sg(R_{k+1} - V_k): (H-1, N).

    Args:
        log_prob: (H-1, N) of the actions taken in states 0..H-2.
        returns: (H, N) of states 0..H-1.
        baseline: (H, N) slow critic's value of the same states. V_k includes the reward r_k, which
            R_{k+1} does not; a baseline may, because it does not depend on the action.
    """
    return log_prob * (returns[1:] - baseline[:-1]).detach()
