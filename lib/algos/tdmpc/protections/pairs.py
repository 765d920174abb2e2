"""The dynamics rehearse (state, action) pairs of earlier tasks: they answer as they once did.

What rehearses dreams and what rehearses stored transitions differ in where pairs and answers come
from; the loss, and how it enters an update, are the same.

Shapes: B pairs, L observation, A action.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.algos.tdmpc.model import Dynamics
from lib.algos.tdmpc.protections.api import Given, Protection, Term
from lib.core.config import at_least, one_of


@dataclass(frozen=True)
class PairsConfig:
    """Says how often pairs are rehearsed, and how that enters an update."""

    every: int = at_least(1, 1)  # steps between two updates that rehearse
    pairs: int = at_least(1, 512)  # rehearsed at once
    combine: str = one_of("separate", "joint")  # an Adam step of its own, or one summed loss
    weight: float = at_least(0, 1.0)  # the joint loss's lambda


def rehearsal_loss(
    dynamics: Dynamics, obs: Tensor, action: Tensor, target: Tensor, match: str
) -> Tensor:
    """Returns the mean squared difference from what the old dynamics (or the world) answered.

    Args:
        obs, action: (B, L) and (B, A), dreamt or stored.
        target: (B, L), raw outputs of the old network where `match` is "raw", else observations.

    Source: DRAGO, section 4.1.
    """
    raw = dynamics.raw(obs, action)
    predicted = raw if match == "raw" else dynamics.bound(raw)
    return (predicted - target).square().mean()


class PairRehearsal(Protection):
    """Rehearses what `answered` gives. A step of its own is neither weighted nor clipped."""

    match: str  # what answers are: "raw" outputs of the network, or "bounded" observations

    def answered(self, given: Given) -> tuple[Tensor, Tensor, Tensor]:
        """Returns pairs and their answers, (B, L), (B, A) and (B, L), without gradients."""
        raise NotImplementedError

    @property
    def joint(self) -> bool:
        return self.settings.combine == "joint"

    def due(self, step: int) -> bool:
        return step % self.settings.every == 0

    def loss(self, given: Given) -> Term:
        """Compares today's dynamics with the answers."""
        with torch.no_grad():
            rows = self.answered(given)
        value = rehearsal_loss(given.dynamics, *rows, self.match)
        logged = {"rehearsal": {"loss": value.detach()}}
        return Term(self.settings.weight * value if self.joint else value, logged)
