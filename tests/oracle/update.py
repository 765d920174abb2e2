"""The losses of TD-MPC and DRAGO as published: one time step of a window after the other.

Shapes: H steps of a window, B windows, L observation, A action.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.tdmpc.model import Dynamics, Heads
from lib.algos.tdmpc.settings import LearningConfig, ReviewerConfig
from lib.engine.optim import Adam
from lib.replay.buffer import EpisodeBuffer, Windows
from lib.replay.generative import Vae
from tests.oracle import networks


def draw_windows(buffer: EpisodeBuffer, uniform: Tensor, batch: int) -> Windows:
    """Windows by priority, drawn on the host as TD-MPC's replay does.

    Args:
        uniform: as many draws as windows: with replacement. One per stored step: without, where
            a step of weight w gets the key u**(1/w) and the largest keys win (Efraimidis and
            Spirakis 2006).
    """
    mass = buffer.mass.flatten().double().cpu().numpy()
    probs, u = mass / mass.sum(), uniform.double().cpu().numpy()
    if len(u) == len(mass) != batch:
        with np.errstate(divide="ignore"):
            index = np.argsort(-np.log(np.clip(u, 1e-7, 1 - 1e-7)) / probs)[:batch]
    else:
        cumulative = probs.cumsum()
        index = cumulative.searchsorted(u * cumulative[-1], side="right")
    weight = (len(probs) * probs[index]) ** -buffer.beta
    at, like = torch.from_numpy(index).to(buffer.mass.device), buffer.reward
    episode, step = at // buffer.length, at % buffer.length
    horizon = buffer.horizon
    return Windows(
        torch.stack([buffer.obs[episode, step + k] for k in range(horizon + 1)]),
        torch.stack([buffer.action[episode, step + k] for k in range(horizon)]),
        torch.stack([buffer.reward[episode, step + k] for k in range(horizon)]),
        torch.from_numpy(weight / weight.max()).to(like),
        at,
    )


class Seen(NamedTuple):
    """What a model update leaves behind."""

    latents: list[Tensor]  # H+1 of (B, L), detached
    priority: list[Tensor]  # H of (B,): |Q1 - y| + |Q2 - y|
    score: Tensor  # () mean -log of the prediction error
    parts: dict[str, Tensor]


def model_loss(
    dynamics: Dynamics,
    heads: Heads,
    batch: Windows,
    noise: Tensor,
    cfg: LearningConfig,
    std: float,
    *,
    curiosity: float = 0.0,
    train_dynamics: bool = True,
) -> tuple[Tensor, Seen]:
    """TD-MPC's joint loss of dynamics, reward and critics, (), already divided by H."""
    horizon = len(batch.reward)
    consistency_loss = reward_loss = value_loss = torch.zeros_like(batch.weight)
    score, priority = 0.0, []
    online, target = networks.critics(heads.q), networks.critics(heads.target_q)
    z = batch.obs[0]
    latents = [z]
    for k in range(horizon):
        here, action, reached = latents[-1], batch.action[k], batch.obs[k + 1]
        with torch.set_grad_enabled(train_dynamics):
            z = networks.next_latent(dynamics, z, action)
            error = ((z - reached) ** 2).mean(-1)
        predicted = networks.reward(heads, here, action)
        q1, q2 = (q(here, action) for q in online)
        with torch.no_grad():
            proposed = networks.policy(heads, reached, std, noise[k])
            next_q = torch.min(*(q(reached, proposed) for q in target))
            td_target = batch.reward[k] + curiosity * error + cfg.discount * next_q
        if train_dynamics:
            consistency_loss = consistency_loss + cfg.rho**k * error
        if k == 0 or not cfg.first_step_heads:
            squared = (q1 - td_target) ** 2 + (q2 - td_target) ** 2
            value_loss = value_loss + cfg.rho**k * squared
            reward_loss = reward_loss + cfg.rho**k * (predicted - batch.reward[k]) ** 2
        priority.append(((q1 - td_target).abs() + (q2 - td_target).abs()).detach())
        score = score - torch.log(error.detach().clamp(min=1e-12)).mean() / horizon
        latents.append(z.detach())
    losses = [loss.clamp(max=1e4) for loss in (consistency_loss, reward_loss, value_loss)]
    coefs = (cfg.consistency_coef, cfg.reward_coef, cfg.value_coef)
    total = coefs[0] * losses[0] + coefs[1] * losses[1] + coefs[2] * losses[2]
    weighted = (batch.weight * total).mean()
    told = dict(zip(("consistency", "reward", "value", "total"), (*losses, total), strict=True))
    parts = {name: loss.detach().mean() for name, loss in told.items()}
    parts |= {"weighted": weighted.detach(), "score": score}
    return weighted / horizon, Seen(latents, priority, score, parts)


def priorities(seen: Seen, rows: int, cfg: LearningConfig, reward: Tensor | None = None) -> Tensor:
    """Priorities of the first rows; the reviewer's add its reward (H, rows) and 2 at every step."""
    total = 0
    for k, term in enumerate(seen.priority):
        own = term[:rows] if reward is None else term[:rows] + reward[k] + 2
        total = total + cfg.rho**k * own
    return total.clamp(max=1e4) + 1e-6


def policy_loss(
    heads: Heads, latents: list[Tensor], noise: Tensor, rho: float, std: float
) -> Tensor:
    """-sum_k rho**k mean min(Q1, Q2)(z_k, pi(z_k)) over the H + 1 latents, ()."""
    loss, (q1, q2) = 0, networks.critics(heads.q)
    for k, z in enumerate(latents):
        action = networks.policy(heads, z, std, noise[k])
        loss = loss - rho**k * torch.min(q1(z, action), q2(z, action)).mean()
    return loss


def vae_loss(
    vae: Vae, pairs: Tensor, noise: Tensor, beta: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Reconstruction and beta times the KL, both averaged over every number."""
    mean, log_var = vae.encoder(pairs).chunk(2, -1)
    decoded = vae.decoder(mean + (log_var / 2).exp() * noise)
    reconstruction = F.mse_loss(decoded, pairs)
    kl = (-0.5 * (1 + log_var - mean**2 - log_var.exp())).mean()
    parts = {"reconstruction": reconstruction.detach(), "kl": kl.detach()}
    return reconstruction + beta * kl, parts


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
    """What the reviewer gains and pays for transitions: two of (...), see DRAGO's method figure."""
    scores = []
    for model in (old, dynamics):
        off = networks.next_latent(model, obs, action) - next_obs
        error = (off.abs() if cfg.norm == "absolute" else off**2).mean(-1)
        scores.append(-torch.log(error.clamp(min=1e-12)))
    known, still = scores
    if cfg.shape == "paper":
        return torch.sigmoid(known), cfg.cost * torch.sigmoid(still)
    gain = torch.sigmoid(cfg.sharpness * (known - threshold))
    return gain, cfg.cost * torch.sigmoid(still - threshold)


def relabelled(
    batch: Windows, *models: Dynamics, threshold: Tensor, cfg: ReviewerConfig
) -> Windows:
    """The same windows with the reviewer's reward, step by step."""
    rewards = []
    for k, action in enumerate(batch.action):
        pair = batch.obs[k], action, batch.obs[k + 1]
        known, cost = review_parts(*models, *pair, threshold, cfg)
        rewards.append(known - cost)
    return batch._replace(reward=torch.stack(rewards))


def ewc_penalty(dynamics: Dynamics, anchors: list[Tensor], fisher: list[Tensor]) -> Tensor:
    """Half the weighted squared distance from the anchors, ()."""
    total = 0
    for p, anchor, weight in zip(dynamics.parameters(), anchors, fisher, strict=True):
        total = total + 0.5 * (weight * (p - anchor) ** 2).sum()
    return total


def plain_adam(held: Adam) -> torch.optim.Adam:
    """PyTorch's Adam, one tensor after another, on the very moments that `held` saves.

    Step counts live on the host, as they do by default; `keep_counts` writes them back.
    """
    optimizer = torch.optim.Adam(held.parameters, foreach=False, fused=False)
    moments = zip(held.parameters, held.step, held.exp_avg, held.exp_avg_sq, strict=True)
    for p, step, mean, square in moments:
        optimizer.state[p] = {"step": step.cpu(), "exp_avg": mean, "exp_avg_sq": square}
    return optimizer


def keep_counts(optimizer: torch.optim.Adam, held: Adam) -> None:
    """Puts the number of steps made where `held` saves it."""
    for p, step in zip(held.parameters, held.step, strict=True):
        step.copy_(optimizer.state[p]["step"])


def descend(loss: Tensor, optimizers: list[torch.optim.Adam], clip: float | None) -> Tensor:
    """Backward, clip, step; returns the gradient's norm before clipping (0 where not clipped)."""
    held: list[nn.Parameter] = [p for o in optimizers for g in o.param_groups for p in g["params"]]
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.zeros(()) if clip is None else nn.utils.clip_grad_norm_(held, clip)
    for optimizer in optimizers:
        optimizer.step()
    return norm
