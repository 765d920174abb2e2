"""Planning as TD-MPC publishes it: for one state, every step of the horizon by itself.

Shapes: N samples, P policy sequences, h steps of the horizon, L observation, A action,
I iterations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.algos.tdmpc.model import Dynamics, Heads
from lib.algos.tdmpc.settings import PlannerConfig
from lib.core.planning import PlanNoise, Trace
from tests.oracle import networks

START_STD = 2.0


class Noise(NamedTuple):
    """The random numbers of one state's plan."""

    candidates: Tensor  # (I, N, h) uniform or (I, N, h, A) normal
    guides: Tensor  # (h, P, A)
    last: Tensor  # (I, N+P, A)
    pick: Tensor  # () uniform
    explore: Tensor  # (A,) normal


def of_state(noise: PlanNoise, e: int, states: int) -> Noise:
    """What state e of several gets of the numbers drawn for all."""
    return Noise(
        noise.candidates[:, e],
        noise.guides.chunk(states, 1)[e] if noise.guides.numel() else noise.guides,
        noise.last.chunk(states, 1)[e],
        noise.pick[e],
        noise.explore[e],
    )


@dataclass
class Search:
    """A search from one state.

    Args:
        bonus: maps next latents (B, L) to the factor of a positive reward, or None.
        std_floor: smallest standard deviation of continuous actions.
    """

    dynamics: Dynamics
    heads: Heads
    cfg: PlannerConfig
    discount: float
    bonus: Callable[[Tensor], Tensor] | None = None
    std_floor: float = 0.05
    explore: bool = True
    trace: Trace | None = None

    def plan(self, obs: Tensor, noise: Noise, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """The action (A,) and what the plan believed in, (h, A), from an observation (L,)."""
        guides = self.policy_sequences(obs, noise.guides)
        search = self.over_choices if self.heads.discrete else self.over_box
        return search(obs, guides, noise, previous)

    def over_choices(
        self, obs: Tensor, guides: Tensor, noise: Noise, previous: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy search: a categorical for every step of the horizon."""
        horizon, size = noise.candidates.shape[-1], noise.last.shape[-1]
        probs = torch.full((horizon, size), 1 / size, device=obs.device)
        for i, uniform in enumerate(noise.candidates):
            bounds = probs.cumsum(-1)  # (h, A)
            under = (uniform * bounds[:, -1]).T.contiguous()  # (h, N)
            index = torch.searchsorted(bounds, under, right=True).clamp_max(size - 1)
            drawn = torch.eye(size, device=obs.device)[index.T]  # (N, h, A)
            elites, weights = self.elites(i, obs, torch.cat((drawn, guides)), noise.last[i])
            believed = (weights[:, None, None] * elites).sum(0)
            probs = self.cfg.momentum * probs + (1 - self.cfg.momentum) * believed
        return elites[pick(weights, noise.pick), 0], probs

    def over_box(
        self, obs: Tensor, guides: Tensor, noise: Noise, previous: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """MPPI: a normal for every step of the horizon, its mean kept from the last decision."""
        horizon, size = noise.candidates.shape[-2:]
        mean = torch.zeros(horizon, size, device=obs.device)
        std = torch.full_like(mean, START_STD)
        if previous is not None:
            mean[:-1] = previous[1:horizon]
        for i, normal in enumerate(noise.candidates):
            drawn = (mean + std * normal).clamp(-1, 1)
            elites, weights = self.elites(i, obs, torch.cat((drawn, guides)), noise.last[i])
            score = weights[:, None, None]
            centre = (score * elites).sum(0)
            spread = (score * (elites - centre) ** 2).sum(0).sqrt()
            mean = self.cfg.momentum * mean + (1 - self.cfg.momentum) * centre
            std = spread.clamp(self.std_floor, START_STD)
        action = elites[pick(weights, noise.pick), 0]
        if self.explore:
            action = action + std[0] * noise.explore
            if self.cfg.final_noise == "clamp":
                action = action.clamp(-1, 1)
        return action, mean

    def policy_sequences(self, obs: Tensor, noise: Tensor) -> Tensor:
        """What the policy would do, imagined: (P, h, A)."""
        z, actions = obs.expand(noise.shape[1], -1), []
        for normal in noise:
            actions.append(self.propose(z, normal))
            z = networks.next_latent(self.dynamics, z, actions[-1])
        return torch.stack(actions, 1)

    def propose(self, z: Tensor, noise: Tensor) -> Tensor:
        """What the policy does in (B, L): the likeliest one-hot action where nothing explores."""
        if self.heads.discrete and not self.explore:
            return F.one_hot(self.heads.policy_net(z).argmax(-1), noise.shape[-1]).to(z.dtype)
        return networks.policy(self.heads, z, self.cfg.min_std, noise)

    def elites(
        self, iteration: int, obs: Tensor, actions: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The best sequences (K, h, A) and their weights (K,)."""
        value = self.estimate_value(obs, actions, noise).nan_to_num(0)
        best = value.topk(min(self.cfg.elites, len(value))).indices
        if self.trace is not None:
            self.trace(iteration, actions[None], value[None], best[None])
        score = torch.exp(self.cfg.temperature * (value[best] - value[best].max()))
        return actions[best], score / score.sum()

    def estimate_value(self, obs: Tensor, actions: Tensor, noise: Tensor) -> Tensor:
        """Discounted rewards of every sequence, and the value where it ends: (N+P,)."""
        z, total, discount = obs.expand(len(actions), -1), 0, 1
        for k in range(actions.shape[1]):
            reached = networks.next_latent(self.dynamics, z, actions[:, k])
            reward = networks.reward(self.heads, z, actions[:, k])
            if self.bonus is not None:
                reward = torch.where(reward > 0, reward * self.bonus(reached), reward)
            total = total + discount * reward
            z, discount = reached, discount * self.discount
        if self.cfg.use_q:
            action = self.propose(z, noise)
            q1, q2 = (q(z, action) for q in networks.critics(self.heads.q))
            total = total + discount * torch.min(q1, q2)
        return total


def pick(weights: Tensor, uniform: Tensor) -> Tensor:
    """An index drawn by weight: where a uniform draw falls among the weights side by side."""
    bounds = weights.cumsum(0)
    index = torch.searchsorted(bounds, (uniform * bounds[-1])[None], right=True)
    return index[0].clamp_max(len(weights) - 1)
