"""Backgrounds that are generated while they are shown, so that nothing has to be downloaded.

All but `rain` move in ways that cannot be extrapolated (velocities drift, scenes are cut): what
moves evenly is perfectly predictable, and an objective that contrasts predictions would encode it
rather than ignore it. Rain falls evenly, as TPC's does.
"""

from collections.abc import Callable

import numpy as np

from lib.core.errors import unknown
from lib.envs.pixels.drive import Drive
from lib.envs.pixels.natural import Natural
from lib.envs.pixels.rain import Rain
from lib.envs.pixels.splits import SPLITS, check_split
from lib.envs.pixels.texture import Texture

# A kind is one file and one row: a generator and a size to an endless clip with `frame()`.
KINDS: dict[str, Callable] = {
    "natural": Natural,
    "drive": Drive,
    "texture": Texture,
    "rain": Rain,
}
CLIPS = 2**32  # different clips of a kind and a split, unless the kind names fewer


class Procedural:
    """Clips of one kind: a `BackgroundSource`.

    The split is part of every clip's seed, so no clip of one split is ever shown in the other.

    Args:
        kind: one of `KINDS`.
        split: "train" or "test".
        size: height and width [pixels].

    Raises:
        UserError: an unknown kind or split.
    """

    def __init__(self, kind: str, split: str, size: int):
        if kind not in KINDS:
            raise unknown("procedural background", kind, KINDS)
        check_split(split)
        self.kind, self.split, self.size = kind, split, size
        self._clip = None

    def reset(self, rng: np.random.Generator) -> None:
        """Begins another clip."""
        make = KINDS[self.kind]
        number = int(rng.integers(getattr(make, "CLIPS", CLIPS)))
        seed = (SPLITS.index(self.split), number)
        self._clip = make(np.random.default_rng(seed), self.size)

    def next(self) -> np.ndarray:
        """Returns its next frame, (size, size, 3) uint8."""
        return self._clip.frame()

    def another(self) -> "Procedural":
        """Returns a source of the same clips."""
        return Procedural(self.kind, self.split, self.size)
