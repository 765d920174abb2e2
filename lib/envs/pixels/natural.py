"""Generated backgrounds with the statistics of films: two drifting layers, zoom, light and cuts."""

import numpy as np

from lib.envs.pixels.fields import field, to_bytes, view, wander

SIDE = 192  # texels of a layer
SLOPE = 1.25  # of amplitude over frequency; films have about that
MASK_SLOPE = 2.0  # smoother, so that the front layer is a few large shapes
MIX = 0.5 * np.eye(3, dtype=np.float32) + 0.5  # colours of films go together
CONTRAST = 0.2  # standard deviation of a layer's colours
KEEP = 0.6  # share of a velocity that the next frame keeps
SPEED = {"back": 0.5, "front": 1.2}  # standard deviation of velocities [texels per frame]
LIGHT_KEEP, LIGHT = 0.95, 0.02
ZOOM_STEP, ZOOM = 0.004, (0.7, 1.4)
CUT = 1 / 150  # chance of another scene in every frame


class Natural:
    """One endless clip.

    A back layer is seen where the front layer, with whose motion the boundary moves, is cut away.
    On 500 frames of 64 x 64 pixels, a global shift found from the last five frames predicts the
    fifth from now no better than the present one does, as in films, and the mean difference of two
    frames is 0.02 to 0.06 of full brightness (`tests/envs/pixels/test_procedural.py`).

    Args:
        rng: all chance comes from here.
        size: height and width [pixels].
    """

    def __init__(self, rng: np.random.Generator, size: int):
        self._rng, self._size = rng, size
        self._light, self._zoom = 0.0, 1.0
        self._cut()

    def _cut(self) -> None:
        """Begins another scene; the camera's zoom and the light go on."""
        rng = self._rng
        self._back = _layer(rng)
        shape = 1 / (1 + np.exp(-6 * (field(rng, SIDE, 1, MASK_SLOPE) - 0.6)))
        self._front = np.concatenate((_layer(rng), shape), axis=-1)
        self._at = {layer: rng.uniform(0, SIDE, 2) for layer in SPEED}
        self._velocity = {layer: sd * rng.standard_normal(2) for layer, sd in SPEED.items()}

    def frame(self) -> np.ndarray:
        """Returns the next frame, (size, size, 3) uint8."""
        rng = self._rng
        if rng.random() < CUT:
            self._cut()
        for layer, deviation in SPEED.items():
            self._velocity[layer] = wander(rng, self._velocity[layer], KEEP, deviation)
            self._at[layer] = (self._at[layer] + self._velocity[layer]) % SIDE
        self._light = LIGHT_KEEP * self._light + LIGHT * rng.standard_normal()
        self._zoom = float(np.clip(self._zoom + ZOOM_STEP * rng.standard_normal(), *ZOOM))
        back = view(self._back, self._size, self._at["back"], self._zoom)
        front = view(self._front, self._size, self._at["front"], self._zoom)
        seen = back + front[..., 3:] * (front[..., :3] - back)
        return to_bytes((1 + np.float32(self._light)) * seen)


def _layer(rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3) float32 colours."""
    mixed = field(rng, SIDE, 3, SLOPE) @ MIX
    mean = rng.uniform(0.3, 0.7, 3).astype(np.float32)
    return mean + CONTRAST * mixed / mixed.std()
