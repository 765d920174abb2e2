"""What one update minimises: pure functions of networks, data and random numbers.

Written for one run; `lib.algos.tdmpc.learning` maps them over seeds, differentiates and steps. Nothing
here reads a device value on the host.

Shapes: H steps of a window, B windows, L observation size, A action size. All H steps of the
heads are evaluated as one batch; only the dynamics are unrolled step by step, which is exact
because the heads read detached latents.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lib.algos.tdmpc.model import Dynamics, Heads
from lib.algos.tdmpc.settings import LearningConfig, ReviewerConfig
from lib.core import losses
from lib.replay.buffer import Windows, join
from lib.replay.generative import Vae


class TdResult(NamedTuple):
    """What one model update leaves for the steps after it, all detached."""

    latents: Tensor  # (H+1, B, L)
    q: Tensor  # (2, H, B)
    target: Tensor  # (H, B)
    score: Tensor  # () mean of -log consistency over steps and windows
    parts: dict[str, Tensor]


def td_loss(
    dynamics: Dynamics,
    heads: Heads,
    batch: Windows,
    noise: Tensor,
    *,
    cfg: LearningConfig,
    policy_std: float,
    train_dynamics: bool,
    curiosity: float = 0.0,
) -> tuple[Tensor, TdResult]:
    """The loss of reward and critics, and of the dynamics where they are trained too.

    Args:
        noise: (H, B, A) draws for the policy's next actions, see `Heads.policy`.
        train_dynamics: False leaves the dynamics alone (the learner beside a reviewer).
        curiosity: coefficient of the prediction error added to the value target.

    Returns:
        The TD-MPC loss divided by H, as in TD-MPC, and what later steps need.
    """
    horizon = batch.reward.shape[0]
    with torch.set_grad_enabled(train_dynamics and torch.is_grad_enabled()):
        z = dynamics.unroll(batch.obs[0], batch.action)  # (H+1, B, L)
        consistency = losses.model_error(z[1:], batch.obs[1:])  # (H, B)
    latents = z.detach()
    error = consistency.detach()
    with torch.no_grad():
        next_action = heads.policy(batch.obs[1:], policy_std, noise)
        next_q = heads.twin(heads.target_q, batch.obs[1:], next_action)  # (2, H, B)
        reward = batch.reward + curiosity * error if curiosity else batch.reward
        target = losses.td_target(reward, next_q, cfg.discount)
    steps = 1 if cfg.first_step_heads else horizon
    predicted_reward = heads.reward(torch.cat((latents[:steps], batch.action[:steps]), -1))
    q = heads.twin(heads.q, latents[:steps], batch.action[:steps])
    loss, parts = losses.td_mpc_loss(
        consistency if train_dynamics else torch.zeros_like(error),
        (predicted_reward, batch.reward[:steps]),
        (q, target[:steps]),
        batch.weight,
        rho=cfg.rho,
        coefs=(cfg.consistency_coef, cfg.reward_coef, cfg.value_coef),
    )
    all_q = q.detach()
    if steps < horizon:  # priorities look at every step, with the critics from before this update
        with torch.no_grad():
            later = heads.twin(heads.q, latents[steps:-1], batch.action[steps:])
        all_q = torch.cat((all_q, later), 1)  # (2, H, B)
    score = losses.prediction_score(error).mean()
    parts |= {"weighted": loss.detach(), "score": score}
    return loss / horizon, TdResult(latents, all_q, target, score, parts)


def policy_loss(
    heads: Heads, latents: Tensor, noise: Tensor, *, cfg: LearningConfig, std: float
) -> Tensor:
    """What moves the policy towards actions that the (just updated) critics like: a scalar.

    Args:
        latents: (H+1, B, L). noise: (H+1, B, A), see `Heads.policy`.
    """
    action = heads.policy(latents, std, noise)
    return losses.policy_loss(heads.twin(heads.q, latents, action), cfg.rho)


def vae_loss(
    vae: Vae, pairs: Tensor, noise: Tensor, *, beta: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The generator's loss on (state, action) rows (B, L+A), with (B, code) normal draws."""
    reconstruction, mean, log_var = vae(pairs, noise)
    return losses.vae_loss(pairs, reconstruction, mean, log_var, beta)


def rehearsal_loss(
    dynamics: Dynamics, obs: Tensor, action: Tensor, target: Tensor, match: str
) -> Tensor:
    """Mean squared difference from what the old dynamics (or the world) answered.

    Args:
        obs, action: (B, L) and (B, A), dreamt or stored.
        target: (B, L), raw outputs of the old network where `match` is "raw", else observations.
    """
    raw = dynamics.raw(obs, action)
    predicted = raw if match == "raw" else dynamics.bound(raw)
    return (predicted - target).square().mean()


def review_parts(
    dynamics: Dynamics,
    old: Dynamics,
    obs: Tensor,
    action: Tensor,
    next_obs: Tensor,
    threshold: Tensor,
    cfg: ReviewerConfig,
) -> tuple[Tensor, Tensor]:
    """The reviewer's two terms for real transitions: (..., L) to a pair of (...)."""
    error = [losses.model_error(m(obs, action), next_obs, cfg.norm) for m in (old, dynamics)]
    return losses.review_parts(
        error[0], error[1], threshold, sharpness=cfg.sharpness, cost=cfg.cost, shape=cfg.shape
    )


def relabelled(
    batch: Windows, dynamics: Dynamics, old: Dynamics, threshold: Tensor, cfg: ReviewerConfig
) -> Windows:
    """The same windows with the review reward in place of the task's."""
    args = (batch.obs[:-1], batch.action, batch.obs[1:], threshold, cfg)
    known, cost = review_parts(dynamics, old, *args)
    return batch._replace(reward=known - cost)


def review_batch(
    dynamics: Dynamics,
    old: Dynamics,
    threshold: Tensor,
    mine: Windows,
    theirs: Windows | None = None,
    *,
    cfg: ReviewerConfig,
) -> Windows:
    """The reviewer's windows followed by the learner's, the latter with the review reward."""
    if cfg.relabel:
        mine = relabelled(mine, dynamics, old, threshold, cfg)
    if theirs is None:
        return mine
    return join(mine, relabelled(theirs, dynamics, old, threshold, cfg))
