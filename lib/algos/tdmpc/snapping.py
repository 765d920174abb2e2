"""Rounds imagined observations of a grid to the nearest that exist, while a search looks ahead.

A search feeds predictions back. An error of a fraction of a cell rounds away in one step, but where
nothing rounds it, it adds up: pushed against a wall, an imagined agent slides through it in a few
steps, and the search follows a plan that pays nothing. Rounded after every step, a model that
predicts every single step to the right cell is right about whole plans.

Differs from the published code, whose searches never round: `planner.snap` is off by default.

Shapes: any leading ones; L = 3 numbers in an observation.
"""

import torch
from torch import Tensor

from lib.algos.tdmpc.model import Dynamics

HEADINGS = 4


def indices(obs: Tensor, size: int) -> Tensor:
    """Returns the column, row and heading that observations round to: (..., L) to (..., L).

    They are whole, in the type of the observations. Nothing is copied from the host, so that a
    recorded search may ask.

    Args:
        obs: (2x/size - 1, 2y/size - 1, 2 heading/4 - 1).
        size: cells a side.
    """
    cell = ((obs[..., :2] + 1) * (size / 2)).round().clamp(0, size - 1)
    heading = ((obs[..., 2:] + 1) * (HEADINGS / 2)).round().clamp(0, HEADINGS - 1)
    return torch.cat((cell, heading), -1)


def nearest(obs: Tensor, size: int) -> Tensor:
    """Returns the observations of the nearest cell and heading: (..., L) to (..., L)."""
    cell, heading = indices(obs, size).split((2, 1), -1)
    return torch.cat((cell * (2 / size), heading * (2 / HEADINGS)), -1) - 1


class Snapped:
    """Dynamics whose predictions are rounded; what a search asks instead of the dynamics."""

    def __init__(self, dynamics: Dynamics, size: int):
        self.dynamics, self.size = dynamics, size

    def __call__(self, obs: Tensor, action: Tensor) -> Tensor:
        return nearest(self.dynamics(obs, action), self.size)

    def unroll(self, obs: Tensor, action: Tensor) -> Tensor:
        """Feeds its own predictions back: (B, L) and (H, B, A) to (H+1, B, L)."""
        latents = [obs]
        for step in action:
            latents.append(self(latents[-1], step))
        return torch.stack(latents)
