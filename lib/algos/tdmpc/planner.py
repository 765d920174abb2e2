"""Planning by sampling: cross-entropy search over action sequences, for many states at once.

A planner knows nothing of models. It receives `score(z, actions)`, so it plans in a toy, a
TD-MPC latent or a recurrent state alike.

Shapes: E states planned for at once, N candidate sequences, P of them from a policy, h steps of
the horizon, A action size, L latent size.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lib.algos.tdmpc.model import Dynamics, Heads, policy_noise
from lib.algos.tdmpc.settings import PlannerConfig
from lib.core.distributions import categorical_index, one_hot
from lib.core.noise import NoiseSpec, draw_noise
from lib.core.spaces import ActionSpace

Score = Callable[[Tensor, Tensor], Tensor]  # (E, L), (E, N, h, A) to (E, N)
Trace = Callable[[int, Tensor, Tensor, Tensor], None]  # iteration, candidates, scores, elites

START_STD = 2.0  # TD-MPC: first standard deviation of a continuous plan, and its largest


class PlanNoise(NamedTuple):
    """The random numbers that one plan consumes, I iterations of it.

    Uniform for one-hot actions, standard normal for actions in a box, but for `pick`, which is
    always uniform.
    """

    candidates: Tensor  # (I, E, N, h) or (I, E, N, h, A)
    guides: Tensor  # (h, E*P, A)
    last: Tensor  # (I, E*(N+P), A), for the value of the last latents
    pick: Tensor  # (E,)
    explore: Tensor  # (E, A), unused by one-hot actions

    @staticmethod
    def layout(
        states: int, horizon: int, actions: ActionSpace, cfg: PlannerConfig
    ) -> dict[str, NoiseSpec]:
        """What to draw for a plan of so many states."""
        kind = policy_noise(actions)
        guides, size, shape = guide_count(cfg), actions.size, (cfg.iterations, states)
        each = () if actions.discrete else (size,)
        return {
            "candidates": NoiseSpec(kind, (*shape, cfg.samples, horizon, *each)),
            "guides": NoiseSpec(kind, (horizon, states * guides, size)),
            "last": NoiseSpec(kind, (cfg.iterations, states * (cfg.samples + guides), size)),
            "pick": NoiseSpec("uniform", (states,)),
            "explore": NoiseSpec("normal", (states, size)),
        }

    @classmethod
    def draw(
        cls,
        states: int,
        horizon: int,
        actions: ActionSpace,
        cfg: PlannerConfig,
        generator: torch.Generator,
    ) -> "PlanNoise":
        """Fresh numbers on the generator's device."""
        return cls(**draw_noise(cls.layout(states, horizon, actions, cfg), generator))


def guide_count(cfg: PlannerConfig) -> int:
    """P: how many of the candidates the policy itself proposes."""
    return int(cfg.mixture * cfg.samples)


class Plan(NamedTuple):
    """The action chosen for each state and what the next plan may start from."""

    action: Tensor  # (E, A)
    mean: Tensor  # (E, h, A): action means, or probabilities of one-hot actions


def ramp(start: float, end: float, duration: int, step: int) -> float:
    """Linear from start to end over `duration` steps, then constant."""
    share = 1.0 if duration <= 0 else min(1.0, step / duration)
    return start + share * (end - start)


def scheduled_horizon(longest: int, duration: int, step: int) -> int:
    """Planning horizon at an agent step: grows from 1 to the longest."""
    return int(min(longest, ramp(1, longest, duration, step)))


class Prefixes(NamedTuple):
    """What follows from every sequence of d one-hot actions: candidates share these beginnings.

    A sequence's place is its actions read as digits, the first one the highest.
    """

    returns: Tensor  # (E, A**d) discounted rewards on the way
    latents: Tensor  # (E, A**d, L) where it leads


Bonus = Callable[[Tensor], Tensor]  # next latents (..., L) to the factor of a positive reward


def shared_depth(horizon: int, actions: ActionSpace, cfg: PlannerConfig) -> int:
    """How many first actions candidates share: all sequences of them, but no more than samples."""
    if not actions.discrete:
        return 0
    depth = 0
    while depth < horizon and actions.size ** (depth + 1) <= cfg.samples:
        depth += 1
    return depth


def prefixes(
    dynamics: Dynamics,
    heads: Heads,
    z: Tensor,
    depth: int,
    action_dim: int,
    *,
    discount: float,
    bonus: Bonus | None = None,
) -> Prefixes:
    """Imagines every sequence of `depth` one-hot actions from E states (E, L).

    Level by level, so that no beginning is imagined twice, neither within an iteration of the
    search nor in the next.
    """
    states = z.shape[0]
    returns, latents = z.new_zeros(states, 1), z.unsqueeze(1)
    moves = torch.eye(action_dim, device=z.device, dtype=z.dtype)
    for step in range(depth):
        parents = latents.shape[1]
        start = latents.repeat_interleave(action_dim, 1)  # (E, A**(step+1), L)
        action = moves.repeat(parents, 1).expand(states, -1, -1)
        latents = dynamics(start, action)
        reward = rated(heads.reward(torch.cat((start, action), -1)), latents, bonus)
        returns = returns.repeat_interleave(action_dim, 1) + discount**step * reward
    return Prefixes(returns, latents)


def rated(reward: Tensor, reached: Tensor, bonus: Bonus | None) -> Tensor:
    """Positive rewards times the bonus of where they are earned."""
    return reward if bonus is None else torch.where(reward > 0, reward * bonus(reached), reward)


def trajectory_value(
    dynamics: Dynamics,
    heads: Heads,
    z: Tensor,
    actions: Tensor,
    noise: Tensor,
    *,
    discount: float,
    policy_std: float,
    use_q: bool = True,
    bonus: Bonus | None = None,
    shared: Prefixes | None = None,
) -> Tensor:
    """Predicted discounted return of action sequences.

    sum_{t<h} discount**t R(z_t, a_t) + discount**h min_j Q_j(z_h, pi(z_h)), NaN read as 0. Only
    the dynamics run step by step; the rewards are one batch.

    Args:
        z: (E, L). actions: (E, N, h, A).
        noise: (E*N, A) draws for the policy at the last latents, see `Heads.policy`.
        bonus: maps predicted next latents to the factor of a positive reward.
        shared: what `prefixes` found for the first of one-hot actions; None imagines all.

    Returns:
        (E, N). Source: TD-MPC algorithm 1; the bonus is DRAGO's reviewer.
    """
    states, candidates, horizon, size = actions.shape
    depth, before = 0, z.new_zeros(states, candidates)
    start = z.unsqueeze(1).expand(-1, candidates, -1)  # (E, N, L)
    if shared is not None:
        depth = round(math.log(shared.returns.shape[1], size))
        place = z.new_zeros(states, candidates, dtype=torch.long)
        for digit in actions[:, :, :depth].argmax(-1).unbind(-1):
            place = place * size + digit
        before = shared.returns.gather(1, place)
        start = shared.latents.gather(1, place.unsqueeze(-1).expand(-1, -1, z.shape[1]))
    steps = actions[:, :, depth:].permute(2, 0, 1, 3).reshape(-1, states * candidates, size)
    latents = dynamics.unroll(start.reshape(states * candidates, -1), steps)  # (h-d+1, E*N, L)
    value = before.flatten()
    if depth < horizon:
        reward = heads.reward(torch.cat((latents[:-1], steps), -1))  # (h-d, E*N)
        reward = rated(reward, latents[1:], bonus)
        gammas = discount ** torch.arange(depth, horizon, device=z.device, dtype=z.dtype)
        value = value + (gammas.unsqueeze(1) * reward).sum(0)
    if use_q:
        last = latents[-1]
        q = heads.twin(heads.q, last, heads.policy(last, policy_std, noise))
        value = value + discount**horizon * q.amin(0)
    return torch.nan_to_num(value).view(states, candidates)


def policy_sequences(
    dynamics: Dynamics,
    heads: Heads,
    z: Tensor,
    noise: Tensor,
    std: float,
) -> Tensor:
    """Sequences that the policy itself would act, imagined in the model.

    Args:
        z: (E, L). noise: (h, E*P, A) draws for the policy, P sequences for every state.

    Returns:
        (E, P, h, A).
    """
    horizon, rows, _ = noise.shape
    states = z.shape[0]
    latent = z.unsqueeze(1).expand(-1, rows // states, -1).reshape(rows, -1)  # (E*P, L)
    actions = []
    for step in range(horizon):
        actions.append(heads.policy(latent, std, noise[step]))
        if step + 1 < horizon:
            latent = dynamics(latent, actions[-1])
    return torch.stack(actions, 1).view(states, rows // states, horizon, -1)


def elite_weights(values: Tensor, elites: int, temperature: float) -> tuple[Tensor, Tensor]:
    """The best candidates and their softmax weights: indices and weights, each (E, elites)."""
    best, index = values.topk(min(elites, values.shape[1]), dim=1)
    return index, torch.softmax(temperature * best, dim=1)


def take(candidates: Tensor, index: Tensor) -> Tensor:
    """Candidates (E, N, h, A) at (E, K) indices: (E, K, h, A)."""
    return candidates[torch.arange(candidates.shape[0], device=index.device).unsqueeze(1), index]


def best_of(
    score: Score,
    z: Tensor,
    candidates: Tensor,
    guides: Tensor | None,
    cfg: PlannerConfig,
    trace: Trace | None,
    iteration: int,
) -> tuple[Tensor, Tensor]:
    """One iteration's elites (E, K, h, A) and weights (E, K), guides competing."""
    if guides is not None:
        candidates = torch.cat((candidates, guides), 1)
    values = score(z, candidates)
    best, weights = elite_weights(values, cfg.elites, cfg.temperature)
    if trace is not None:
        trace(iteration, candidates, values, best)
    return take(candidates, best), weights


def first_action(elites: Tensor, weights: Tensor, uniform: Tensor) -> Tensor:
    """The first action of an elite drawn by weight, for every state: (E, A)."""
    states = elites.shape[0]
    chosen = categorical_index(weights, uniform)
    return elites[torch.arange(states, device=elites.device), chosen, 0]


def categorical_plan(
    score: Score,
    z: Tensor,
    noise: PlanNoise,
    cfg: PlannerConfig,
    guides: Tensor | None = None,
    trace: Trace | None = None,
) -> Plan:
    """Cross-entropy search over one-hot actions, an independent categorical per time step.

    Starts uniform at every decision. The action is the first one of an elite drawn by weight,
    in training and evaluation alike.

    Args:
        score: (E, L), (E, N, h, A) to (E, N), larger is better.
        z: (E, L) states to plan from.
        noise: what is random; its shapes say how far to look ahead.
        guides: (E, P, h, A) policy sequences that compete in every iteration.
        trace: called with every iteration's candidates, scores and elite indices.
    """
    states, horizon, action_dim = z.shape[0], noise.candidates.shape[-1], noise.last.shape[-1]
    probs = z.new_full((states, horizon, action_dim), 1.0 / action_dim)
    elites = weights = None
    for iteration in range(cfg.iterations):
        index = categorical_index(probs.unsqueeze(1), noise.candidates[iteration])
        candidates = one_hot(index, action_dim).to(z.dtype)
        elites, weights = best_of(score, z, candidates, guides, cfg, trace, iteration)
        mean = torch.einsum("ek,ekha->eha", weights, elites)
        probs = cfg.momentum * probs + (1 - cfg.momentum) * mean
    return Plan(first_action(elites, weights, noise.pick), probs)


def gaussian_plan(
    score: Score,
    z: Tensor,
    noise: PlanNoise,
    cfg: PlannerConfig,
    guides: Tensor | None = None,
    trace: Trace | None = None,
    *,
    previous: Tensor | None = None,
    std_floor: float | Tensor = 0.05,
    explore: bool = True,
) -> Plan:
    """MPPI over actions in [-1, 1]^A with the cross-entropy method's shrinking spread.

    Args:
        previous: (E, h', A) mean of the last decision's plan, shifted here by one step; None at
            the start of an episode.
        std_floor: smallest standard deviation, a number or a scalar on the device.
        explore: add the final noise of the first step's spread.

    See `categorical_plan` for the rest. Source: TD-MPC section 3; the final action is clamped,
    which the original forgets.
    """
    states, (horizon, action_dim) = z.shape[0], noise.candidates.shape[-2:]
    mean = z.new_zeros(states, horizon, action_dim)
    if previous is not None:
        kept = min(horizon, previous.shape[1]) - 1
        mean = torch.cat((previous[:, 1 : kept + 1], mean[:, kept:]), 1)
    std = torch.full_like(mean, START_STD)
    elites = weights = None
    for iteration in range(cfg.iterations):
        spread = std.unsqueeze(1) * noise.candidates[iteration]
        candidates = (mean.unsqueeze(1) + spread).clamp(-1, 1)
        elites, weights = best_of(score, z, candidates, guides, cfg, trace, iteration)
        centre = torch.einsum("ek,ekha->eha", weights, elites)
        variance = torch.einsum("ek,ekha->eha", weights, (elites - centre.unsqueeze(1)).square())
        mean = cfg.momentum * mean + (1 - cfg.momentum) * centre
        std = variance.sqrt().clamp_max(START_STD).clamp_min(std_floor)
    action = first_action(elites, weights, noise.pick)
    if explore:
        action = action + std[:, 0] * noise.explore
        if cfg.final_noise == "clamp":
            action = action.clamp(-1, 1)
    return Plan(action, mean)
