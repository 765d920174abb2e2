"""Pictures of what an agent sees, from stored observations."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lib.core.spaces import ObsSpace

SCALE = 4  # screen pixels of a picture's pixel
ALPHA = 0.5  # how much of the picture a ghost covers


class GymScene:
    """Draws stored observations, four times as large as a learner sees them.

    Args:
        space: how observations are stored.
        picture: stored observations to (..., 64, 64, 3) uint8.
    """

    def __init__(self, space: ObsSpace, picture: Callable[[Tensor], Tensor]):
        self._space, self._draw = space, picture

    def frame(self, pose: np.ndarray, ghost: np.ndarray | None = None) -> np.ndarray:
        """One picture, a new array.

        Args:
            pose: (L,) a stored observation, flat.
            ghost: (L,) what was imagined instead, drawn over it, half covering.

        Returns:
            (256, 256, 3) uint8.

        Raises:
            ValueError: another number of entries.
        """
        picture = self._picture(pose)
        if ghost is not None and np.isfinite(ghost).all():
            picture = (1 - ALPHA) * picture + ALPHA * self._picture(ghost)
        return picture.astype(np.uint8).repeat(SCALE, axis=0).repeat(SCALE, axis=1)

    def _picture(self, pose: np.ndarray) -> np.ndarray:
        expected = int(np.prod(self._space.shape))
        pose = np.asarray(pose)
        if pose.shape != (expected,):
            raise ValueError(f"pose {pose.shape}; an observation is ({expected},)")
        stored = torch.from_numpy(pose.copy()).to(self._space.dtype).view(self._space.shape)
        return self._draw(stored).numpy()

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> "GymScene":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
