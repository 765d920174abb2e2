"""What a TD-MPC agent can show of its search and of its critics.

Letters: N candidates, h steps of the horizon, T decisions, L observation size, A action size.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lib.algos.api import ReviewRule
from lib.algos.tdmpc.transfer import KeptHeads

if TYPE_CHECKING:
    from lib.algos.tdmpc.agent import ContinualAgent


class TracedSearch:
    """Shows an agent's search: a `lib.algos.api.Search`."""

    def __init__(self, agent: "ContinualAgent"):
        self.agent, self.discount = agent, agent.cfg.learning.discount

    def act(
        self, obs: Tensor, memory: Any, *, generator: torch.Generator, trace: Callable[..., None]
    ) -> tuple[Tensor, Any]:
        """Acts as while evaluating, and hands every iteration to `trace`."""
        return self.agent.act(obs, memory, explore=False, generator=generator, trace=trace)

    @torch.no_grad()
    def outcomes(
        self, obs: Tensor, actions: Tensor, heads: KeptHeads | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns latents (N, h+1, L) and rewards (N, h) of actions (N, h, A) from obs (N, L)."""
        dynamics = self.agent.evaluated_dynamics
        own = heads.heads if heads else self.agent.evaluated_heads
        steps = actions.transpose(0, 1)  # (h, N, A)
        latents = self.agent.imagined(dynamics).unroll(
            obs.expand(len(actions), -1), steps
        )  # (h+1, N, L)
        reward = own.reward(torch.cat((latents[:-1], steps), -1))  # (h, N)
        return latents.transpose(0, 1), reward.transpose(0, 1)


@torch.no_grad()
def values(
    agent: "ContinualAgent", obs: Tensor, action: Tensor, generator: torch.Generator
) -> Tensor:
    """Returns (T,) the smaller of both critics' values, for obs (T+1, L) and action (T, A)."""
    heads = agent.evaluated_heads
    return heads.twin(heads.q, obs[:-1], action).amin(0)


def review_rule(agent: "ContinualAgent") -> ReviewRule:
    """Returns how the next task's reviewer is paid, or would be."""
    cfg = agent.cfg.reviewer
    return ReviewRule(
        used=agent.cfg.method.review,
        threshold=float(agent.next_threshold),
        norm=cfg.norm,
        sharpness=cfg.sharpness,
        cost=cfg.cost,
        shape=cfg.shape,
    )
