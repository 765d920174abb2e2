"""TD-MPC's update as the papers have it: one seed, one time step after the other, no tricks.

`update` makes one update of an agent, with DRAGO's reviewer and whatever protects the dynamics;
what it calls stands above it, in the order of its steps. The fast path, `lib.algos.tdmpc.update`,
computes the same numbers for many seeds at once and is tested against this module.

Sources: TD-MPC (arXiv 2203.04955), algorithm 2; DRAGO (arXiv 2503.04256), sections 4.1 and 4.2.

Shapes: H steps of a window, B windows, L observation, A action. The encoder is the identity, so
that a latent z is an observation or a prediction of one.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from lib.algos.tdmpc.graph_key import GraphKey
from lib.algos.tdmpc.model import Dynamics, Heads
from lib.algos.tdmpc.protections.api import Given, Protection
from lib.algos.tdmpc.reviewer import review_rows
from lib.algos.tdmpc.settings import LearningConfig, ReviewerConfig
from lib.replay.buffer import EpisodeBuffer, Windows, join
from lib.replay.buffer import draw_windows as buffer_draw

if TYPE_CHECKING:
    from lib.algos.tdmpc.agent import ContinualAgent

Optimizers = dict[str, torch.optim.Adam]  # `dynamics`, `learner/heads`, `learner/policy`, ...
Noise = dict[str, Tensor]  # all random numbers of an update, see `graph_key.noise_layout`


def draw_windows(buffer: EpisodeBuffer, uniform: Tensor, rows: int) -> Windows:
    """Draws windows by priority, and weights that make up for it (Schaul et al. 2016)."""
    return buffer_draw(buffer.storage, uniform, rows, buffer.horizon, buffer.beta)


class Seen(NamedTuple):
    """Holds what a model's loss leaves behind, all detached."""

    latents: list[Tensor]  # H+1 of (B, L)
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
    protections: list[Protection],
    train_dynamics: bool = True,
) -> tuple[Tensor, Seen]:
    """Returns TD-MPC's joint loss of dynamics T, reward R and critics Q1, Q2, (), divided by H.

    With e_k = |T(z_k, a_k) - s_{k+1}|^2 and y_k = r_k + discount min Q'(s_{k+1}, pi(s_{k+1})),
    sum_k rho^k [c_1 e_k + c_2 (R(z_k, a_k) - r_k)^2 + c_3 sum_j (Q_j(z_k, a_k) - y_k)^2].

    Args:
        noise: (H, B, A), what the policy draws from.
        protections: a curious one adds to r_k in y_k.
        train_dynamics: False leaves them alone.

    Source: TD-MPC eq. 5 and 9. Differs, as DRAGO's code: targets look at the true next
    observation, and the heads do not train the dynamics.
    """
    horizon = len(batch.reward)
    consistency = reward = value = torch.zeros_like(batch.weight)
    score, priority, latents = 0.0, [], [batch.obs[0]]
    z = batch.obs[0]
    for k in range(horizon):
        here, action, reached = latents[-1], batch.action[k], batch.obs[k + 1]
        with torch.set_grad_enabled(train_dynamics):
            z = dynamics(z, action)
            error = ((z - reached) ** 2).mean(-1)
        q1, q2 = heads.twin(heads.q, here, action)
        with torch.no_grad():
            proposed = heads.policy(reached, std, noise[k])
            next_q = torch.min(*heads.twin(heads.target_q, reached, proposed))
            bonus = sum(p.bonus(error) for p in protections if p.bonus)
            target = batch.reward[k] + bonus + cfg.discount * next_q
        if train_dynamics:
            consistency = consistency + cfg.rho**k * error
        if k == 0 or not cfg.first_step_heads:
            predicted = heads.reward(torch.cat((here, action), -1))
            reward = reward + cfg.rho**k * (predicted - batch.reward[k]) ** 2
            value = value + cfg.rho**k * ((q1 - target) ** 2 + (q2 - target) ** 2)
        priority.append(((q1 - target).abs() + (q2 - target).abs()).detach())
        score = score - torch.log(error.detach().clamp(min=1e-12)).mean() / horizon
        latents.append(z.detach())
    sums = [part.clamp(max=1e4) for part in (consistency, reward, value)]
    coefs = (cfg.consistency_coef, cfg.reward_coef, cfg.value_coef)
    total = coefs[0] * sums[0] + coefs[1] * sums[1] + coefs[2] * sums[2]
    weighted = (batch.weight * total).mean()
    told = dict(zip(("consistency", "reward", "value", "total"), (*sums, total), strict=True))
    parts = {name: part.detach().mean() for name, part in told.items()}
    parts |= {"weighted": weighted.detach(), "score": score}
    return weighted / horizon, Seen(latents, priority, score, parts)


def priorities(seen: Seen, rows: int, cfg: LearningConfig, reward: Tensor | None) -> Tensor:
    """Ranks the first rows; the reviewer's add its reward (H, rows) and 2 at every step."""
    total = 0
    for k, surprise in enumerate(seen.priority):
        own = surprise[:rows] if reward is None else surprise[:rows] + reward[k] + 2
        total = total + cfg.rho**k * own
    return total.clamp(max=1e4) + 1e-6


def policy_loss(
    heads: Heads, latents: list[Tensor], noise: Tensor, rho: float, std: float
) -> Tensor:
    """-sum_k rho^k mean min(Q1, Q2)(z_k, pi(z_k)) over the H + 1 latents, (). TD-MPC eq. 10."""
    loss = 0
    for k, z in enumerate(latents):
        action = heads.policy(z, std, noise[k])
        loss = loss - rho**k * torch.min(*heads.twin(heads.q, z, action)).mean()
    return loss


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
    """Tells what the reviewer gains where the old dynamics knew, and pays where today's still know.

    Two of (...), for transitions (..., L), (..., A), (..., L). Source: DRAGO, method figure.
    """
    scores = []
    for model in (old, dynamics):
        off = model(obs, action) - next_obs
        error = (off.abs() if cfg.norm == "absolute" else off**2).mean(-1)
        scores.append(-torch.log(error.clamp(min=1e-12)))
    known, still = scores
    if cfg.shape == "paper":
        return torch.sigmoid(known), cfg.cost * torch.sigmoid(still)
    gain = torch.sigmoid(cfg.sharpness * (known - threshold))
    return gain, cfg.cost * torch.sigmoid(still - threshold)


def relabelled(agent: "ContinualAgent", batch: Windows) -> Windows:
    """Returns the windows with the reviewer's reward, step by step."""
    models, rewards = (agent.dynamics, agent.old_dynamics), []
    for k, action in enumerate(batch.action):
        pair = batch.obs[k], action, batch.obs[k + 1]
        known, cost = review_parts(*models, *pair, agent.threshold, agent.cfg.reviewer)
        rewards.append(known - cost)
    return batch._replace(reward=torch.stack(rewards))


def descend(loss: Tensor, optimizers: list[torch.optim.Adam], clip: float | None) -> Tensor:
    """Makes a gradient step; returns the norm before clipping (0 where not clipped)."""
    held: list[nn.Parameter] = [p for o in optimizers for g in o.param_groups for p in g["params"]]
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.zeros(()) if clip is None else nn.utils.clip_grad_norm_(held, clip)
    for optimizer in optimizers:
        optimizer.step()
    return norm


def given(
    agent: "ContinualAgent", protection: Protection, noise: Noise, pairs: Tensor | None = None
) -> Given:
    """Gathers what a protection's loss asks for."""
    networks = {name: own.network for name, own in protection.trained.items()}
    prefix = f"{protection.name}/"
    own = {n.removeprefix(prefix): v for n, v in noise.items() if n.startswith(prefix)}
    models, networks = (agent.dynamics, agent.old_dynamics), networks | protection.frozen
    return Given(*models, networks, protection.tensors(), own, pairs)


def update(agent: "ContinualAgent", optimizers: Optimizers, key: GraphKey, noise: Noise) -> None:
    """Makes one update of an agent.

    1. The learner learns from its windows. Beside a reviewer it leaves the dynamics alone.
    2. The reviewer learns from its windows and the learner's, and trains the dynamics.
    3. Protections train what is their own, then pull on the dynamics in steps of their own.
    4. What evaluations plan with follows, where it is an average.
    """
    cfg, (mine, rest) = agent.cfg, review_rows(agent.cfg)
    batch = draw_windows(agent.learner.buffer, noise["own"], cfg.learning.batch)
    if not agent.reviewer:
        learn(agent, "learner", batch, len(batch.weight), optimizers, key, noise)
    else:
        learn(agent, "learner", batch, len(batch.weight), optimizers, key, noise, False)
        theirs = batch
        if "theirs" in noise:
            theirs = draw_windows(agent.learner.buffer, noise["theirs"], rest)
        batch = draw_windows(agent.reviewer.buffer, noise["mine"], mine)
        if cfg.reviewer.relabel:
            batch = relabelled(agent, batch)
        if rest:
            batch = join(batch, relabelled(agent, theirs.rows(rest)))
        learn(agent, "reviewer", batch, mine, optimizers, key, noise)
    pairs = torch.cat((batch.obs[0], batch.action[0]), -1)
    for p in agent.protections:
        if p.learns:
            value, logged = p.own_loss(given(agent, p, noise, pairs))
            own = [optimizers[f"{p.name}:{name}"] for name in p.trained]
            descend(value, own, cfg.learning.grad_clip)
            log(agent, logged)
    for p in agent.protections:
        if p.name in key.due and not p.joint:
            value, logged = p.loss(given(agent, p, noise))
            descend(value, [optimizers["dynamics"]], None)
            log(agent, logged)
    if own := agent.averages:
        share = max(cfg.learning.average, 1 / (agent.updates + 1))  # a plain mean at first
        for mean, newest in ((own.dynamics, agent.dynamics), (own.heads, agent.learner.heads)):
            for held, now in zip(mean.parameters(), newest.parameters(), strict=True):
                held.data.lerp_(now.data, share)


def learn(
    agent: "ContinualAgent",
    role: str,
    batch: Windows,
    rows: int,
    optimizers: Optimizers,
    key: GraphKey,
    noise: Noise,
    train_dynamics: bool = True,
) -> None:
    """Steps model, priorities, policy, target of a role, whose first `rows` windows are its own."""
    cfg, std, own = agent.cfg.learning, agent.cfg.planner.min_std, agent.actor(role)
    moved = [optimizers[f"{role}/heads"]]
    models, draws = (agent.dynamics, own.heads), noise[f"{role}/next"]
    loss, seen = model_loss(*models, batch, draws, cfg, std, agent.protections, train_dynamics)
    if train_dynamics:
        moved.append(optimizers["dynamics"])
        for p in agent.protections:
            if p.name in key.due and p.joint:
                term = p.loss(given(agent, p, noise))
                loss = loss + term.value
                log(agent, term.logged)
    norm = descend(loss, moved, cfg.grad_clip)
    if train_dynamics:
        decay = agent.cfg.reviewer.threshold_decay
        agent.next_threshold.copy_(decay * agent.next_threshold + (1 - decay) * seen.score)
    reward = batch.reward[:, :rows] if role == "reviewer" else None
    own.buffer.set_priorities(batch.index[:rows], priorities(seen, rows, cfg, reward))
    latents = [z[:rows] for z in seen.latents]
    own.heads.q.requires_grad_(False)
    told = policy_loss(own.heads, latents, noise[f"{role}/policy"], cfg.rho, std)
    descend(told, [optimizers[f"{role}/policy"]], cfg.grad_clip)
    own.heads.q.requires_grad_(True)
    if key.follows:
        followed = zip(own.heads.target_q.parameters(), own.heads.q.parameters(), strict=True)
        for target, online in followed:
            target.data.lerp_(online.data, cfg.ema)
    log(agent, {f"{role}_update": {**seen.parts, "grad_norm": norm, "policy": told}})


def log(agent: "ContinualAgent", logged: dict[str, dict[str, Tensor]]) -> None:
    """Adds scalars to what the next report tells."""
    for group, values in logged.items():
        agent.running_means.add(group, values)
