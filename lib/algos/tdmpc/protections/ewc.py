"""Elastic weight consolidation holds the dynamics' weights that mattered: a baseline.

Source: Kirkpatrick et al. 2017; the running sum over tasks is online EWC (Schwarz et al. 2018)
without decay. DRAGO's paper names the baseline, not its details.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from lib.algos.tdmpc.model import Dynamics
from lib.algos.tdmpc.protections.api import Given, Protection, Term, Transitions
from lib.core import losses
from lib.core.config import at_least

FISHER_ROWS = 2048  # transitions whose gradients are squared
CHUNK = 256


@dataclass(frozen=True)
class Settings:
    """Holds weights that mattered for earlier tasks where they were."""

    strength: float = at_least(0, 0.0)  # lambda in the paper; 0: off


def fisher_diagonal(
    dynamics: Dynamics, obs: Tensor, action: Tensor, next_obs: Tensor
) -> list[Tensor]:
    """Averages the squared gradient of the one-step error over transitions, per parameter."""
    parameters = {name: p.detach() for name, p in dynamics.named_parameters()}

    def error(values: dict[str, Tensor], o: Tensor, a: Tensor, target: Tensor) -> Tensor:
        return losses.model_error(functional_call(dynamics, values, (o, a)), target)

    per_row = vmap(grad(error), in_dims=(None, 0, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for rows in torch.arange(len(obs), device=obs.device).split(CHUNK):
        gradients = per_row(parameters, obs[rows], action[rows], next_obs[rows])
        for name, gradient in gradients.items():
            total[name] += gradient.square().sum(0)
    return [value / len(obs) for value in total.values()]


class Ewc(Protection):
    """Holds where the dynamics stood at the last boundary, and how much each weight mattered.

    Both are None before the first task of the run has ended: a world model that was loaded comes
    without the data that would tell which of its weights matter.
    """

    Settings = Settings
    anchors: list[Tensor] | None = None
    fisher: list[Tensor] | None = None

    @property
    def on(self) -> bool:
        return self.settings.strength > 0

    def end_task(self, dynamics: Dynamics, transitions: Transitions) -> None:
        """Adds a finished task's importance and moves the anchors here."""
        draws = self.context.streams.update
        rows = torch.randint(
            len(transitions[0]), (FISHER_ROWS,), generator=draws, device=draws.device
        )
        fresh = fisher_diagonal(dynamics, *(part[rows] for part in transitions))
        before = self.fisher or [torch.zeros_like(f) for f in fresh]
        self.fisher = [old + new for old, new in zip(before, fresh, strict=True)]
        self.anchors = [p.detach().clone() for p in dynamics.parameters()]

    def due(self, step: int) -> bool:
        return self.anchors is not None

    def tensors(self) -> dict[str, Any]:
        """Returns anchors and importances like the dynamics' parameters, where there are any."""
        if self.anchors is None:
            return {}
        return {"anchors": self.anchors, "fisher": self.fisher}

    def loss(self, given: Given) -> Term:
        """Pulls every weight towards its anchor, by its importance."""
        held = given.tensors["anchors"], given.tensors["fisher"]
        penalty = losses.ewc_penalty(given.dynamics.parameters(), *held)
        return Term(self.settings.strength * penalty, {})

    def state_dict(self) -> dict[str, Any]:
        return {"anchors": self.anchors, "fisher": self.fisher}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, held in state.items():
            moved = None if held is None else [t.to(self.context.device) for t in held]
            setattr(self, name, moved)


PROTECTION = Ewc
