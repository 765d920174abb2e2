"""Pictures of one size to another."""

import numpy as np
from PIL import Image


def resized(picture: np.ndarray, size: int) -> np.ndarray:
    """Returns (H, W, 3) uint8 as (size, size, 3), bilinearly; the proportions are not kept."""
    if picture.shape[:2] == (size, size):
        return picture
    scaled = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(scaled)
