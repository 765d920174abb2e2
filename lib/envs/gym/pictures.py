"""Spaces that are pictures, in all the ways that gymnasium's environments lay them out.

Letters: H, W rows and columns, C colours (3, or 1 for grey), K frames.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from lib.envs.gym.tiles import SIDE, nearest

SMALLEST = SIDE // 2  # rows and columns of a picture; what is smaller may be a table
MOST_PLANES = 16  # an axis of at most so many holds colours or frames
SQUARE = 4  # pixels a side of a number that is drawn beside a picture
MOST_NUMBERS = 64  # that fit beside one: four rows of sixteen

Layout = Callable[[np.ndarray], np.ndarray]


def reader(space: spaces.Space) -> Callable[[Any], np.ndarray] | None:
    """How a space is read as (64, 64, 3) uint8; None if it is no picture.

    | Shape of a Box | is |
    |---|---|
    | (H, W) | grey |
    | (H, W, C), (C, H, W) | colours |
    | (H, W, K C), (K C, H, W), (K, ...) of the above | frames of which the last is newest |

    Of frames the newest is shown: what came before it, a world model remembers by itself. Numbers
    are bytes, or lie between finite bounds that all pixels share, which become 0 and 255.
    """
    if not isinstance(space, spaces.Box) or not _has_brightness(space):
        return None
    layout = _layout(space.shape)
    if layout is None:
        return None
    low, high = float(space.low.flat[0]), float(space.high.flat[0])
    rows, columns = (nearest(side).numpy() for side in _sides(space.shape))

    def read(obs: Any) -> np.ndarray:
        seen = layout(np.asarray(obs))[rows][:, columns]
        if seen.dtype != np.uint8:
            share = (seen.astype(np.float64) - low) / (high - low)
            seen = (255 * share.clip(0, 1)).round().astype(np.uint8)
        return np.broadcast_to(seen, (SIDE, SIDE, 3))

    return read


def doubt(space: spaces.Space) -> str:
    """Why a space that looks like a picture is not taken for one."""
    if not isinstance(space, spaces.Box) or len(space.shape) < 3:
        return ""
    if not _has_brightness(space):
        return "pixels need finite bounds, the same for all"
    return f"a picture of less than {SMALLEST} pixels a side may be a table of symbols"


def _has_brightness(space: spaces.Box) -> bool:
    if space.dtype == np.uint8:
        return True
    low, high = space.low.flat[0], space.high.flat[0]
    alike = (space.low == low).all() and (space.high == high).all()
    return bool(alike and np.isfinite(low) and np.isfinite(high) and high > low)


def _layout(shape: tuple[int, ...]) -> Layout | None:
    """An array of a shape to (H, W, C); None if no picture is in it."""
    if len(shape) == 4:
        inner = _layout(shape[1:])
        return inner and (lambda seen: inner(seen[-1]))
    sides = _sides(shape)
    if not sides or min(sides) < SMALLEST:
        return None
    if len(shape) == 2:
        return lambda seen: seen[..., None]
    last = shape[2] <= MOST_PLANES
    planes = shape[2] if last else shape[0]
    colours = 1 if planes % 3 else 3
    if last:
        return lambda seen: seen[..., -colours:]
    return lambda seen: np.moveaxis(seen[-colours:], 0, -1)


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """H and W; nothing where no axis holds colours or frames."""
    if len(shape) == 4:
        return _sides(shape[1:])
    if len(shape) == 2:
        return shape
    if len(shape) == 3 and shape[2] <= MOST_PLANES:
        return shape[:2]
    return shape[1:] if len(shape) == 3 and shape[0] <= MOST_PLANES else ()


def beside(picture: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """A picture made lower, with numbers below it: a square each, black for 0 and white for 1.

    Args:
        picture: (64, 64, 3) uint8.
        shares: (n,) from 0 to 1, n at most `MOST_NUMBERS`; what lies outside is cut.

    Returns:
        (64, 64, 3) uint8, of which the last 4 ceil(n / 16) rows hold the numbers.
    """
    across = SIDE // SQUARE
    lines = -(-len(shares) // across)
    drawn = np.zeros(lines * across)
    drawn[: len(shares)] = np.clip(shares, 0, 1)
    grey = (255 * drawn).round().astype(np.uint8).reshape(lines, across)
    grey = grey.repeat(SQUARE, axis=0).repeat(SQUARE, axis=1)[..., None]
    rows = nearest(SIDE, SIDE - len(grey)).numpy()
    return np.concatenate((picture[rows], np.broadcast_to(grey, (len(grey), SIDE, 3))))
