"""One gradient step of each part. Nothing here reads a device value on the host.

Shapes: H steps of a window, B windows, L observation size, A action size. All H steps of the
heads are evaluated as one batch; only the dynamics are unrolled step by step, which is exact
because the heads read detached latents.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lib import losses, optim
from lib.config import LearningConfig, ReviewerConfig
from lib.replay.buffer import Windows
from lib.replay.generative import Vae
from lib.tdmpc.model import Dynamics, Heads


class TdResult(NamedTuple):
    """What one model update leaves for the steps after it."""

    latents: Tensor  # (H+1, B, L), detached
    q: Tensor  # (2, H, B), detached
    target: Tensor  # (H, B)
    score: Tensor  # () mean of -log consistency over steps and windows
    parts: dict[str, Tensor]


def td_step(
    dynamics: Dynamics,
    heads: Heads,
    batch: Windows,
    cfg: LearningConfig,
    generator: torch.Generator,
    *,
    heads_optimizer: torch.optim.Optimizer,
    dynamics_optimizer: torch.optim.Optimizer | None,
    policy_std: float,
    curiosity: float = 0.0,
    extra: Tensor | None = None,
) -> TdResult:
    """Trains reward and critics, and the dynamics where their optimiser is given.

    Args:
        dynamics_optimizer: None leaves the dynamics alone (the learner beside a reviewer).
        curiosity: coefficient of the prediction error added to the value target.
        extra: a scalar loss on the dynamics added as it is (consolidation, joint rehearsal).

    The gradient of the TD-MPC loss is divided by H and the joint norm clipped, as in TD-MPC.
    """
    horizon = batch.reward.shape[0]
    train_dynamics = dynamics_optimizer is not None
    with torch.set_grad_enabled(train_dynamics):
        z = dynamics.unroll(batch.obs[0], batch.action)  # (H+1, B, L)
        consistency = losses.model_error(z[1:], batch.obs[1:])  # (H, B)
    latents = z.detach()
    error = consistency.detach()
    with torch.no_grad():
        next_action = heads.policy(batch.obs[1:], policy_std, generator)
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
    total = loss / horizon if extra is None else loss / horizon + extra
    total.backward()
    trained: list[nn.Parameter] = [*heads.reward_net.parameters(), *heads.q.parameters()]
    optimizers = [heads_optimizer]
    if dynamics_optimizer is not None:
        trained += dynamics.parameters()
        optimizers.append(dynamics_optimizer)
    parts["grad_norm"] = optim.step(optimizers, trained, cfg.grad_clip)
    parts["weighted"] = loss.detach()
    score = losses.prediction_score(error).mean()
    parts["score"] = score
    return TdResult(latents, all_q, target, score, parts)


def policy_step(
    heads: Heads,
    latents: Tensor,
    cfg: LearningConfig,
    generator: torch.Generator,
    optimizer: torch.optim.Optimizer,
    std: float,
) -> Tensor:
    """Moves the policy towards actions that the (just updated) critics like; returns the loss."""
    action = heads.policy(latents, std, generator)
    loss = losses.policy_loss(heads.twin(heads.q, latents, action), cfg.rho)
    parameters = list(heads.policy_net.parameters())
    for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = grad
    optim.step([optimizer], parameters, cfg.grad_clip)
    return loss.detach()


def vae_step(
    vae: Vae,
    pairs: Tensor,
    beta: float,
    clip: float,
    generator: torch.Generator,
    optimizer: torch.optim.Optimizer,
) -> dict[str, Tensor]:
    """One step of the generator on (state, action) rows, (B, L+A)."""
    reconstruction, mean, log_var = vae(pairs, generator)
    loss, parts = losses.vae_loss(pairs, reconstruction, mean, log_var, beta)
    loss.backward()
    optim.step([optimizer], list(vae.parameters()), clip)
    return parts


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


@torch.no_grad()
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
