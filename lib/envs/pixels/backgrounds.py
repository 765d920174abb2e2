"""What is shown behind a body: the suite's own sky and floor, or a moving picture in their place.

A pixel of the suite's pictures is background where blue exceeds red and green; sky and floor are
blue and go together. Measured under random actions by others: cup 99 % of the pixels, cartpole 98,
reacher 97, cheetah 95, finger 94, walker 93.

Source: the natural backgrounds of TPC (Nguyen et al., ICML 2021) and DreamerPro (Deng, Jang and
Ahn, ICML 2022), which show driving films of Kinetics-400. Films are the user's to bring
(`folder:PATH`); generated ones (`procedural:KIND`) need nothing, and returns before them are not
comparable with the papers'.

Letters: H, W rows and columns of a picture.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.core.errors import UserError, short, unknown
from lib.envs.pixels.clips import VideoFolder
from lib.envs.pixels.procedural import KINDS, Procedural
from lib.envs.pixels.splits import check_split

PLAIN = "plain"
FORMS = (PLAIN, *(f"procedural:{kind}" for kind in KINDS), "folder:PATH")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class BackgroundSource(Protocol):
    """Moving pictures without end. What follows a `reset` depends on its generator alone."""

    def reset(self, rng: np.random.Generator) -> None:
        """Begins another clip."""
        ...

    def next(self) -> np.ndarray:
        """Returns the clip's next frame, (H, W, 3) uint8."""
        ...

    def another(self) -> "BackgroundSource":
        """Returns a source of the same clips that stands elsewhere in them."""
        ...


class Grey:
    """Shows another source without colours."""

    def __init__(self, source: BackgroundSource):
        self.source = source

    def reset(self, rng: np.random.Generator) -> None:
        """Begins another clip."""
        self.source.reset(rng)

    def next(self) -> np.ndarray:
        """Returns its next frame, three equal channels."""
        grey = (self.source.next() @ LUMA).round().astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)

    def another(self) -> "Grey":
        """Returns a source of the same clips."""
        return Grey(self.source.another())

    def notes(self, frames: int) -> Iterator[str]:
        """Says what the coloured clips' source says."""
        return notes(self.source, frames)


def notes(source: BackgroundSource, frames: int) -> Iterator[str]:
    """Says what a user may not expect of a background, if it has anything to say.

    Args:
        frames: that an episode shows.
    """
    return getattr(source, "notes", lambda frames: iter(()))(frames)


def mask(picture: np.ndarray) -> np.ndarray:
    """Returns which pixels of (..., 3) uint8 are background, (...) bool."""
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    return (blue > green) & (blue > red)


def composite(picture: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Returns a picture (..., 3) whose background pixels are those of `behind`, a new array.

    The mask is computed from the picture alone, so blue pixels of `behind` stay what they are.
    """
    return np.where(mask(picture)[..., None], behind, picture)


def check(text: str) -> None:
    """Raises UserError unless a setting names a background; looks into no folder yet."""
    kind, _, which = text.partition(":")
    if text == PLAIN or (kind == "procedural" and which in KINDS) or (kind == "folder" and which):
        return
    if kind == "procedural":
        raise unknown("procedural background", which, KINDS, "for example procedural:natural")
    if kind == "folder":
        raise UserError("background 'folder:' names no folder; write folder:PATH, of video files")
    hint = "PATH is a folder of videos"
    if Path(text).is_dir():
        hint = f"for the folder of that name write 'folder:{text}'"
    raise unknown("background", text, FORMS, hint)


def source(text: str, split: str, size: int, grey: bool = False) -> BackgroundSource | None:
    """Returns the moving pictures that a setting names; None where the suite's own stay.

    Args:
        text: "plain", "procedural:KIND" or "folder:PATH".
        split: "train" or "test"; no clip is in both.
        size: H and W.
        grey: without colours.

    Raises:
        UserError: no such background, or a folder without clips that can be decoded.
    """
    check(text)
    check_split(split)
    if size < 1:
        raise UserError(f"background size {short(size)}: pictures need at least 1 pixel a side")
    if text == PLAIN:
        return None
    kind, _, which = text.partition(":")
    made = (
        Procedural(which, split, size) if kind == "procedural" else VideoFolder(which, split, size)
    )
    return Grey(made) if grey else made
