"""White drops on black, the simple backgrounds of TPC (Nguyen et al., ICML 2021).

The constants are those of TPC's published code: 200 clips a split, and for each clip a slant of -3
to 3, a length, a width and a speed of 1 or 2, and 50 to 100 drops on a picture of 64 x 64.
"""

from typing import ClassVar

import numpy as np

from lib.envs.pixels.fields import VIEW
from lib.envs.pixels.resizing import resized


class Rain:
    """One endless clip of drops that fall alike.

    A drop that leaves begins again: at the top, or, every second time, at the side that the wind
    comes from. Pictures of other sizes are resized.

    Args:
        rng: all chance comes from here.
        size: height and width [pixels].
    """

    CLIPS: ClassVar[int] = 200

    def __init__(self, rng: np.random.Generator, size: int):
        self._rng, self._size = rng, size
        self._slant = int(rng.integers(-3, 4))
        self._length, self._width, self._speed = (int(rng.integers(1, 3)) for _ in range(3))
        count = int(rng.integers(50, 101))
        self._drops = rng.integers(0, VIEW, (count, 2))  # column and row

    def frame(self) -> np.ndarray:
        """Returns the next frame, (size, size, 3) uint8."""
        drawn = self._draw()
        self._fall()
        return resized(np.repeat(drawn[..., None], 3, axis=-1), self._size)

    def _draw(self) -> np.ndarray:
        """(64, 64) uint8: each drop is a line over `slant` columns and `length` rows."""
        picture = np.zeros((VIEW, VIEW), np.uint8)
        points = 1 + max(abs(self._slant), self._length)
        for share in np.linspace(0, 1, points):
            column = self._drops[:, 0] + round(share * self._slant)
            row = self._drops[:, 1] + round(share * self._length)
            for wide in range(self._width):
                inside = (column + wide >= 0) & (column + wide < VIEW) & (row >= 0) & (row < VIEW)
                picture[row[inside], (column + wide)[inside]] = 255
        return picture

    def _fall(self) -> None:
        rng, drops = self._rng, self._drops
        drops += (self._slant * self._speed, self._length * self._speed)
        gone = (drops[:, 1] >= VIEW) | (drops[:, 0] < 0) | (drops[:, 0] >= VIEW)
        # As many draws whichever drops are gone, so that clips do not depend on how they are drawn.
        anew = rng.integers(0, VIEW, len(drops))
        at_side = (rng.random(len(drops)) < 0.5) & (self._slant != 0)
        side = 0 if self._slant > 0 else VIEW - 1
        drops[gone & at_side] = np.stack((np.full_like(anew, side), anew), 1)[gone & at_side]
        drops[gone & ~at_side] = np.stack((anew, np.zeros_like(anew)), 1)[gone & ~at_side]
