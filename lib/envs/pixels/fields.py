"""Periodic random fields, and views of them: what generated backgrounds are made of."""

from functools import lru_cache

import numpy as np

VIEW = 64  # texels that a picture of any size shows at zoom 1


@lru_cache(maxsize=8)
def _amplitude(side: int, slope: float) -> np.ndarray:
    """(side, side // 2 + 1, 1) f^-slope by frequency, nothing at 0."""
    row, column = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.hypot(row, column)
    frequency[0, 0] = np.inf
    return (frequency**-slope)[..., None]


def field(rng: np.random.Generator, side: int, channels: int, slope: float) -> np.ndarray:
    """Returns white noise filtered by f^-slope, (side, side, channels) float32.

    Each channel has mean 0 and standard deviation 1, and goes on at the opposite edge.
    """
    white = np.fft.rfft2(rng.standard_normal((side, side, channels)), axes=(0, 1))
    noise = np.fft.irfft2(white * _amplitude(side, slope), (side, side), axes=(0, 1))
    return (noise / noise.std((0, 1))).astype(np.float32)


def view(texture: np.ndarray, size: int, at: np.ndarray, zoom: float) -> np.ndarray:
    """Returns a square cut out of a periodic texture, bilinearly: (size, size, C) float32.

    Args:
        texture: (side, side, C) float32.
        at: (2,) row and column of its centre [texels].
        zoom: texels a pixel of a picture of 64; one of another size shows the same part.
    """
    side = len(texture)
    along = (np.arange(size) - (size - 1) / 2) * (zoom * VIEW / size)
    rows, columns = at[0] + along, at[1] + along
    low, part = np.floor(rows).astype(int), (rows - np.floor(rows)).astype(np.float32)
    across = texture[low % side]
    across = across + part[:, None, None] * (texture[(low + 1) % side] - across)
    low, part = np.floor(columns).astype(int), (columns - np.floor(columns)).astype(np.float32)
    seen = across[:, low % side]
    return seen + part[None, :, None] * (across[:, (low + 1) % side] - seen)


def wander(
    rng: np.random.Generator, velocity: np.ndarray, keep: float, deviation: float
) -> np.ndarray:
    """Returns the next value of a velocity that drifts (Ornstein-Uhlenbeck).

    Args:
        keep: share that stays of the last one.
        deviation: standard deviation that it settles at.
    """
    noise = deviation * np.sqrt(1 - keep**2)
    return keep * velocity + noise * rng.standard_normal(velocity.shape)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Returns brightness 0 to 1 as uint8, cut at both ends."""
    return (255 * picture.clip(0, 1)).round().astype(np.uint8)
