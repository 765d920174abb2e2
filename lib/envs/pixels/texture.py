"""Generated backgrounds of colour noise in several octaves, each carried along by its own drift."""

import numpy as np

from lib.envs.pixels.fields import VIEW, to_bytes, view, wander

COARSEST, OCTAVES = 3, 4  # cells a side of the coarsest noise; every further octave has twice those
CONTRAST = 0.2  # standard deviation of the sum
KEEP, SPEED = 0.9, 0.8  # of velocities [pixels per frame of 64]
CUT = 1 / 150  # chance of another texture in every frame


class Texture:
    """One endless clip: octaves drift apart, so the pattern itself changes all the time.

    Args:
        rng: all chance comes from here.
        size: height and width [pixels].
    """

    def __init__(self, rng: np.random.Generator, size: int):
        self._rng, self._size = rng, size
        self._cut()

    def _cut(self) -> None:
        rng = self._rng
        sides = [COARSEST * 2**octave for octave in range(OCTAVES)]
        self._cells = [rng.uniform(-1, 1, (side, side, 3)).astype(np.float32) for side in sides]
        self._at = rng.uniform(0, VIEW, (OCTAVES, 2))
        self._velocity = SPEED * rng.standard_normal((OCTAVES, 2))
        self._mean = rng.uniform(0.35, 0.65, 3).astype(np.float32)

    def frame(self) -> np.ndarray:
        """Returns the next frame, (size, size, 3) uint8."""
        if self._rng.random() < CUT:
            self._cut()
        self._velocity = wander(self._rng, self._velocity, KEEP, SPEED)
        self._at = (self._at + self._velocity) % VIEW
        seen = np.zeros((self._size, self._size, 3), np.float32)
        for octave, cells in enumerate(self._cells):
            texels = len(cells) / VIEW  # cells a pixel
            seen += 0.5**octave * view(cells, self._size, self._at[octave] * texels, texels)
        # Uniform noise has a deviation of 0.58, which bilinear weights take down to about 0.38.
        scale = CONTRAST / (0.38 * np.sqrt(sum(0.25**octave for octave in range(OCTAVES))))
        return to_bytes(self._mean + np.float32(scale) * seen)
