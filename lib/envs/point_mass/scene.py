"""Draws a point on its table: goal green, point red."""

import numpy as np

from lib.envs.point_mass.env import EDGE, NEAR

SIDE = 256  # pixels of a picture
WHITE, GREEN, RED, BLUE = (250, 250, 250), (90, 180, 90), (200, 60, 50), (60, 110, 200)


class PointScene:
    """Draws observations, which are poses."""

    def frame(self, pose: np.ndarray, ghost: np.ndarray | None = None) -> np.ndarray:
        """Returns (256, 256, 3) uint8.

        Args:
            pose: (8,). ghost: (8,) another point, drawn in blue below.
        """
        picture = np.full((SIDE, SIDE, 3), WHITE, np.uint8)
        _disc(picture, pose[4:6], NEAR, GREEN)
        if ghost is not None and np.isfinite(ghost).all():
            _disc(picture, ghost[:2], 0.05, BLUE)
        _disc(picture, pose[:2], 0.05, RED)
        return picture

    def close(self) -> None:
        """Does nothing: there is nothing to give back."""


def _disc(picture: np.ndarray, centre: np.ndarray, radius: float, colour: tuple) -> None:
    """Fills a disc, in lengths of the table, y upwards."""
    at = (np.arange(SIDE) + 0.5) / SIDE * 2 * EDGE - EDGE
    away = (at[None] - centre[0]) ** 2 + (at[::-1, None] - centre[1]) ** 2
    picture[away < radius**2] = colour
