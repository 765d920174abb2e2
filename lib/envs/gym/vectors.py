"""Spaces of numbers, read as flat vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces


@dataclass(frozen=True, eq=False)
class Numbers:
    """Reads an observation as (size,) float32."""

    size: int
    read: Callable[[Any], np.ndarray]

    def __call__(self, obs: Any) -> np.ndarray:
        return self.read(obs)


def reader(space: spaces.Space) -> Numbers | None:
    """How a space is read as numbers; None if it cannot be.

    Box of one or two axes, laid flat (two: frames of numbers that are stacked, or a table);
    Discrete, MultiDiscrete and MultiBinary, a one-hot group for each number, or the bits.
    """
    if isinstance(space, spaces.Discrete):
        return _one_hot(np.array([space.n]), np.array([space.start]))
    if isinstance(space, spaces.MultiDiscrete):
        return _one_hot(space.nvec.ravel(), space.start.ravel())
    flat = isinstance(space, spaces.Box) and len(space.shape) <= 2
    if flat or isinstance(space, spaces.MultiBinary):
        size = int(np.prod(space.shape))
        return Numbers(size, lambda obs: np.asarray(obs, dtype=np.float32).reshape(size))
    return None


def _one_hot(counts: np.ndarray, start: np.ndarray) -> Numbers:
    """Groups of one-hot numbers, one for each choice."""
    first = np.concatenate(([0], np.cumsum(counts)[:-1])) - start  # where a value's group begins

    def read(obs: Any) -> np.ndarray:
        told = np.zeros(counts.sum(), np.float32)
        told[np.asarray(obs).ravel() + first] = 1
        return told

    return Numbers(int(counts.sum()), read)


def squasher(space: spaces.Space) -> Callable[[np.ndarray], np.ndarray]:
    """Numbers of `reader` to shares of 1: by the bounds, or x / (1 + |x|) where there are none."""
    if not isinstance(space, spaces.Box):
        return lambda told: told  # one-hot numbers and bits
    low, high = (side.ravel().astype(np.float64) for side in (space.low, space.high))
    bounded = np.isfinite(low) & np.isfinite(high) & (high > low)
    low, width = np.where(bounded, low, 0), np.where(bounded, high - low, 1)

    def squashed(told: np.ndarray) -> np.ndarray:
        free = (told / (1 + np.abs(told)) + 1) / 2
        return np.where(bounded, (told - low) / width, free)

    return squashed
