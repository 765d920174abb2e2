"""Elastic weight consolidation on the dynamics: the regularisation baseline.

Source: Kirkpatrick et al. 2017; the running sum over tasks is online EWC (Schwarz et al. 2018)
without decay. DRAGO's paper names the baseline, not its details.
"""

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from lib.algos.tdmpc.model import Dynamics
from lib.core import losses

FISHER_ROWS = 2048  # transitions whose gradients are squared
CHUNK = 256


def fisher_diagonal(
    dynamics: Dynamics, obs: Tensor, action: Tensor, next_obs: Tensor
) -> list[Tensor]:
    """Mean over transitions of the squared gradient of the one-step error, per parameter."""
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


class Consolidation:
    """Where the dynamics stood at the last boundary, and how much each weight mattered."""

    def __init__(self) -> None:
        self.anchors: list[Tensor] = []
        self.fisher: list[Tensor] = []

    def consolidate(
        self,
        dynamics: Dynamics,
        transitions: tuple[Tensor, Tensor, Tensor],
        generator: torch.Generator,
    ) -> None:
        """Adds a finished task's importance and moves the anchors here."""
        rows = torch.randint(
            len(transitions[0]), (FISHER_ROWS,), generator=generator, device=generator.device
        )
        fresh = fisher_diagonal(dynamics, *(part[rows] for part in transitions))
        before = self.fisher or [torch.zeros_like(f) for f in fresh]
        self.fisher = [old + new for old, new in zip(before, fresh, strict=True)]
        self.anchors = [p.detach().clone() for p in dynamics.parameters()]

    def state_dict(self) -> dict:
        return {"anchors": self.anchors, "fisher": self.fisher}

    def load_state_dict(self, state: dict, device: torch.device | str) -> None:
        self.anchors = [a.to(device) for a in state["anchors"]]
        self.fisher = [f.to(device) for f in state["fisher"]]
