"""Dream rehearsal: the task's actor imitates the best of what it dreams of earlier tasks.

Starts are replayed states of earlier tasks. From every one several rollouts are imagined. The world
model's own rewards and the slow critic grade them, and the actor is asked to repeat the actions of
the best one, where it beats the average of its start by a margin. So skills are practised that
replay still tells of, without experience. Policy gradients move an actor by how much an action
gains, which is little where a skill is rarely dreamt of; imitation moves it by as much everywhere.
In a task that is still being learnt it would make a habit of what an untrained critic praises by
chance, so states of the current task are left alone (`rehearsal.of`); that takes the numbers of
tasks, which cloning alone reads besides.

Differs from Nijjer (2026, arXiv 2607.19749), the idea's source: one dream of each start is imitated
instead of the best of a pool.

Letters: N starts, K dreams of each, H imagined steps, F features, A action size.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lib.algos.dreamer.behaviour import (
    TASK,
    Actor,
    Critic,
    Imagined,
    Starts,
    imagine,
    imagine_noise,
    rollout_discounts,
)
from lib.algos.dreamer.rssm import Rssm, State
from lib.algos.dreamer.settings import BehaviourConfig, RehearsalConfig
from lib.algos.dreamer.world_model import WorldModel
from lib.core import losses
from lib.core.noise import NoiseLayout, NoiseSpec


def noise(rssm: Rssm, actor: Actor, states: int, horizon: int, cfg: RehearsalConfig) -> NoiseLayout:
    """Declares the random numbers of `rehearsal_loss` on so many replayed states."""
    if not cfg.weight:
        return {}
    rows = min(cfg.starts, states) * cfg.dreams
    drawn = {"starts": NoiseSpec("uniform", (states,)), **imagine_noise(rssm, actor, horizon, rows)}
    return {f"rehearsal/{name}": spec for name, spec in drawn.items()}


def eligible(task: np.ndarray, current: int, cfg: RehearsalConfig) -> np.ndarray:
    """Returns which replayed records may be dreamt from, bool in the shape of `task`.

    Args:
        task: number of the task that each was collected in. current: number of today's task.
    """
    return task < current if cfg.of == "earlier" else np.ones_like(task, bool)


def dream(
    model: WorldModel,
    actor: Actor,
    states: State,
    terminal: Tensor,
    eligible: Tensor,
    noise: Mapping[str, Tensor],
    cfg: RehearsalConfig,
) -> tuple[Imagined, Tensor]:
    """Imagines K rollouts from each of N replayed states, a start's side by side.

    Args:
        states: those to choose from. terminal: whether an episode ended there.
        eligible: which may be chosen; others fill up, and are told apart.
        noise: see `noise`.

    Returns:
        The dreams, (H, N K, ...), and which starts were eligible, (N,) bool.
    """
    own = {name.removeprefix("rehearsal/"): drawn for name, drawn in noise.items()}
    count = min(cfg.starts, len(terminal))
    chosen = (own["starts"] + eligible).topk(count).indices
    index = chosen.repeat_interleave(cfg.dreams)
    starts = Starts(State(*(part[index] for part in states)), terminal[index])
    with torch.no_grad():
        return imagine(model.rssm, [actor], starts, own), eligible[chosen]


def best_dreams(grade: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Picks each start's best dream: its index (N,), and whether it beats the rest (N,) bool.

    Args:
        grade: (N, K) imagined return of every dream.
        margin: by how much the best must beat the average of its start [task units].
    """
    best, index = grade.max(1)
    return index, best - grade.mean(1) > margin


def imitation_loss(log_prob: Tensor, weight: Tensor, imitated: Tensor) -> Tensor:
    """Averages -w_k ln pi(a_k | s_k) over the steps of the dreams that are imitated: ().

    So a skill that few starts still need counts as much as one that many need.

    Args:
        log_prob: (H, N) of the actions dreamt. weight: (H, N) chance that step k is reached.
        imitated: (N,) bool.
    """
    chosen = weight * imitated
    return -(chosen * log_prob).sum() / chosen.sum().clamp_min(1.0)


def rehearsal_loss(
    model: WorldModel,
    actor: Actor,
    slow: Critic,
    dreams: Imagined,
    eligible: Tensor,
    behaviour: BehaviourConfig,
    cfg: RehearsalConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the weighted loss of imitating the best dreams, and scalars for the log.

    Args:
        slow: the slow critic, which grades what lies behind the horizon.
        dreams, eligible: see `dream`.
    """
    with torch.no_grad():
        reward = TASK.reward(model, dreams)  # (H, N K)
        discount = rollout_discounts(model, dreams)
        value = slow(dreams.features[1:])
        grade = losses.lambda_return(reward, discount, value, behaviour.lam)[0]
        grade = grade.unflatten(0, (-1, cfg.dreams))  # (N, K)
        index, better = best_dreams(grade, cfg.margin)
        imitated = better & eligible
        features, action, weight = (
            _of_each(part, index, cfg.dreams)
            for part in (dreams.features[:-1], dreams.action, losses.rollout_weights(discount))
        )
    log_prob = actor.log_prob(actor(features), action)
    loss = imitation_loss(log_prob, weight, imitated)
    parts = {
        "imitation": loss,
        "eligible": eligible.float().mean(),
        "imitated": imitated.float().mean(),
        "gain": (grade.amax(1) - grade.mean(1)).mean(),
    }
    return cfg.weight * loss, {name: part.detach() for name, part in parts.items()}


def _of_each(part: Tensor, index: Tensor, dreams: int) -> Tensor:
    """Takes one dream of each start: (H, N K, ...) at (N,) to (H, N, ...)."""
    grouped = part.unflatten(1, (-1, dreams))  # (H, N, K, ...)
    shape = (1, -1, 1, *(1 for _ in grouped.shape[3:]))
    return torch.take_along_dim(grouped, index.view(shape), 2).squeeze(2)
