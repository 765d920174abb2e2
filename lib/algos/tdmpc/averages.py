"""Evaluations can plan with an average of the networks that learn, over their last updates.

At a constant learning rate the newest weights jump about a good place; a plan that one burst of
updates made attractive by chance is rarely so in the mean of the last hundred (Polyak and Juditsky
1992). What learns and collects stays as it is: the average follows and is never trained.

Differs from the published code, which evaluates the newest weights: `learning.average` is 1 there.
"""

import copy
from typing import Any

from torch import Tensor

from lib.algos.tdmpc.model import Dynamics, Heads


class Averages:
    """Holds averaged dynamics and heads of a learner, of one task."""

    def __init__(self, dynamics: Dynamics, heads: Heads):
        self.dynamics = dynamics.frozen()
        self.heads = copy.deepcopy(heads).requires_grad_(False)

    def begin(self, dynamics: Dynamics, heads: Heads) -> None:
        """Starts from what learns."""
        self.dynamics.load_state_dict(dynamics.state_dict())
        self.heads.load_state_dict(heads.state_dict())

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Returns both networks' tensors."""
        return {"dynamics": self.dynamics.state_dict(), "heads": self.heads.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.dynamics.load_state_dict(state["dynamics"])
        self.heads.load_state_dict(state["heads"])


def newest_share(average: float, updates: int) -> float:
    """Returns the newest weights' share after so many updates: a plain mean at first.

    Args:
        average: `learning.average`, the share once there are more than 1 / average of them.
        updates: how many the average holds already.
    """
    return max(average, 1.0 / (updates + 1))
