"""Planning by sampling: cross-entropy search over action sequences, for many states at once.

The search knows no models. It receives `score(z, actions)`, so it plans in a toy, a TD-MPC latent
or a recurrent state alike.

Shapes: E states planned for at once, N candidate sequences, P of them from a policy, h steps of
the horizon, A action size, L latent size.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lib.core.distributions import categorical_index, one_hot
from lib.core.noise import NoiseSpec, draw_noise
from lib.core.spaces import ActionSpace

Score = Callable[[Tensor, Tensor], Tensor]  # (E, L), (E, N, h, A) to (E, N)
Trace = Callable[[int, Tensor, Tensor, Tensor], None]  # iteration, candidates, scores, elites

START_STD = 2.0  # TD-MPC: the first and largest standard deviation of a continuous plan


class SearchSettings(Protocol):
    """The numbers that steer a search; any record with these fields will do."""

    @property
    def samples(self) -> int: ...  # action sequences drawn per iteration

    @property
    def elites(self) -> int: ...  # of them the best, to which the next iteration moves

    @property
    def iterations(self) -> int: ...

    @property
    def mixture(self) -> float: ...  # policy sequences, as a share of the samples

    @property
    def temperature(self) -> float: ...  # elite weights ~ exp(temperature * score)

    @property
    def momentum(self) -> float: ...  # share of the old mean (or probabilities) kept

    @property
    def final_noise(self) -> str: ...  # "clamp" keeps the acted value in [-1, 1]


class PlanNoise(NamedTuple):
    """The random numbers that one plan consumes, I iterations of it.

    Uniform for one-hot actions, standard normal for actions in a box, but for `pick`, which is
    always uniform.
    """

    candidates: Tensor  # (I, E, N, h) or (I, E, N, h, A)
    guides: Tensor  # (h, E*P, A), for the policy that proposes guides
    last: Tensor  # (I, E*(N+P), A), for the policy that acts in the last states, per iteration
    pick: Tensor  # (E,)
    explore: Tensor  # (E, A), unused by one-hot actions

    @staticmethod
    def layout(
        states: int, horizon: int, actions: ActionSpace, cfg: SearchSettings
    ) -> dict[str, NoiseSpec]:
        """Says what to draw for a plan of so many states."""
        kind = "uniform" if actions.discrete else "normal"
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
        cfg: SearchSettings,
        generator: torch.Generator,
    ) -> "PlanNoise":
        """Draws fresh numbers on the generator's device."""
        return cls(**draw_noise(cls.layout(states, horizon, actions, cfg), generator))


def guide_count(cfg: SearchSettings) -> int:
    """Returns P, how many candidates the policy itself proposes beside the samples."""
    return int(cfg.mixture * cfg.samples)


class Plan(NamedTuple):
    """The action chosen for each state, and what the next plan may start from."""

    action: Tensor  # (E, A)
    mean: Tensor  # (E, h, A): action means, or probabilities of one-hot actions


def ramp(start: float, end: float, duration: int, step: int) -> float:
    """Moves linearly from start to end over `duration` steps, then stays."""
    share = 1.0 if duration <= 0 else min(1.0, step / duration)
    return start + share * (end - start)


def scheduled_horizon(longest: int, duration: int, step: int) -> int:
    """Returns the horizon at an agent's step, which grows from 1 to the longest."""
    return int(min(longest, ramp(1, longest, duration, step)))


def elite_weights(values: Tensor, elites: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Picks the best candidates by value: their indices and softmax weights, each (E, elites)."""
    best, index = values.topk(min(elites, values.shape[1]), dim=1)
    return index, torch.softmax(temperature * best, dim=1)


def take(candidates: Tensor, index: Tensor) -> Tensor:
    """Takes the candidates (E, N, h, A) at (E, K) indices: (E, K, h, A)."""
    return candidates[torch.arange(candidates.shape[0], device=index.device).unsqueeze(1), index]


def best_of(
    score: Score,
    z: Tensor,
    candidates: Tensor,
    guides: Tensor | None,
    cfg: SearchSettings,
    trace: Trace | None,
    iteration: int,
) -> tuple[Tensor, Tensor]:
    """Scores candidates and guides; returns the elites (E, K, h, A) and their weights (E, K)."""
    if guides is not None:
        candidates = torch.cat((candidates, guides), 1)
    values = score(z, candidates)
    best, weights = elite_weights(values, cfg.elites, cfg.temperature)
    if trace is not None:
        trace(iteration, candidates, values, best)
    return take(candidates, best), weights


def first_action(elites: Tensor, weights: Tensor, uniform: Tensor) -> Tensor:
    """Draws an elite by weight and returns its first action, for every state: (E, A)."""
    states = elites.shape[0]
    chosen = categorical_index(weights, uniform)
    return elites[torch.arange(states, device=elites.device), chosen, 0]


def categorical_plan(
    score: Score,
    z: Tensor,
    noise: PlanNoise,
    cfg: SearchSettings,
    guides: Tensor | None = None,
    trace: Trace | None = None,
) -> Plan:
    """Searches one-hot actions by the cross-entropy method, a categorical per time step.

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
    cfg: SearchSettings,
    guides: Tensor | None = None,
    trace: Trace | None = None,
    *,
    previous: Tensor | None = None,
    std_floor: float | Tensor = 0.05,
    explore: bool = True,
) -> Plan:
    """Searches actions in [-1, 1]^A by MPPI, with the cross-entropy method's shrinking spread.

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
