"""Pictures of pendulums: a rod with a bob on a pale ground, and a dot where the goal is.

Letters: n pendulums, S side of a picture [pixels].
"""

import numpy as np
import torch
from torch import Tensor

from lib.envs.pendulum.tasks import PendulumTask

SIDE = 256  # of a viewer's picture [pixels]
GROUND = (245.0, 245.0, 242.0)  # 8-bit colours
ROD = (90.0, 90.0, 100.0)
BOB = (213.0, 94.0, 0.0)
GOAL = (0.0, 158.0, 115.0)
GHOST = (0.0, 114.0, 178.0)  # lib.plotting.charts.BLUE
# In half pictures: from the middle, where the rod is fixed, to the edge is 1.
METRE = 0.5  # a rod of 1 m
LONGEST = 0.8  # where longer rods are drawn to end
THICK, BOB_RADIUS, GOAL_RADIUS, GOAL_AT = 0.05, 0.12, 0.06, 0.92


def pictures(angle: Tensor, task: PendulumTask, side: int) -> Tensor:
    """Draws pendulums, edges smoothed over a pixel.

    Args:
        angle: (n,) from upright, clockwise [rad].
        side: S.

    Returns:
        (n, S, S, 3) uint8.
    """
    drawn = torch.tensor(GROUND, device=angle.device).expand(len(angle), side, side, 3)
    goal = angle.new_full((len(angle),), task.goal)
    drawn = _over(drawn, _disc(_tip(goal, GOAL_AT), GOAL_RADIUS, side), GOAL)
    return _over_pendulum(drawn, angle, task, ROD, BOB).round().to(torch.uint8)


class PendulumScene:
    """Draws a task for viewers; a pose is (1,), the angle from upright [rad]."""

    def __init__(self, task: PendulumTask):
        self._task = task

    def frame(self, pose: np.ndarray, ghost: np.ndarray | None = None) -> np.ndarray:
        """Returns (256, 256, 3) uint8, a new array.

        Args:
            pose: (1,) of the pendulum.
            ghost: (1,) of a second one, drawn blue and half covering; one that is not finite, as
                dreams may end, is left out.
        """
        drawn = pictures(_angle(pose), self._task, SIDE)
        if ghost is not None and np.isfinite(ghost).all():
            blue = _over_pendulum(drawn.float(), _angle(ghost), self._task, GHOST, GHOST)
            drawn = ((drawn + blue) / 2).round().to(torch.uint8)
        return drawn[0].numpy()

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> "PendulumScene":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _angle(pose: np.ndarray) -> Tensor:
    if np.shape(pose) != (1,):
        raise ValueError(f"pose {np.shape(pose)}; a pendulum has one angle, (1,)")
    return torch.tensor(pose, dtype=torch.float32)


def _over_pendulum(
    drawn: Tensor,
    angle: Tensor,
    task: PendulumTask,
    rod: tuple[float, ...],
    bob: tuple[float, ...],
) -> Tensor:
    side, tip = drawn.shape[1], _tip(angle, min(METRE * task.l, LONGEST))
    at = _pixels(side, angle.device)
    share = ((at * tip).sum(-1) / (tip * tip).sum(-1)).clamp(0, 1)  # (n, S, S) along the rod
    away = (at - share.unsqueeze(-1) * tip).norm(dim=-1)
    drawn = _over(drawn, _inside(away, THICK / 2, side), rod)
    return _over(drawn, _disc(tip, BOB_RADIUS, side), bob)


def _tip(angle: Tensor, length: float) -> Tensor:
    """(n, 1, 1, 2) to the right and down, in half pictures."""
    return length * torch.stack((angle.sin(), -angle.cos()), -1)[:, None, None]


def _disc(centre: Tensor, radius: float, side: int) -> Tensor:
    return _inside((_pixels(side, centre.device) - centre).norm(dim=-1), radius, side)


def _inside(away: Tensor, radius: float, side: int) -> Tensor:
    """Share of each pixel that is covered: its distance from the edge, in pixels."""
    return ((radius - away) * side / 2 + 0.5).clamp(0, 1)


def _over(drawn: Tensor, share: Tensor, colour: tuple[float, ...]) -> Tensor:
    paint = torch.tensor(colour, device=drawn.device)
    return drawn + share.unsqueeze(-1) * (paint - drawn)


def _pixels(side: int, device: torch.device) -> Tensor:
    """(S, S, 2) middles of pixels, to the right and down, in half pictures."""
    along = (torch.arange(side, device=device) + 0.5) * (2 / side) - 1
    down, right = torch.meshgrid(along, along, indexing="ij")
    return torch.stack((right, down), -1)
