"""Generated backgrounds as from a car: a road in perspective, boxes that pass, a shaking camera."""

from dataclasses import dataclass

import numpy as np

from lib.envs.pixels.fields import VIEW, field, to_bytes, view, wander

SIDE = 128  # texels of ground and hills
TEXELS = 4.0  # of ground, a metre
HEIGHT = 1.5  # [m] of the camera above the road
ROAD = 3.5  # [m] half of its width
LINE, DASH = 0.15, 6.0  # [m] half the width of the line in the middle, and its rhythm
FAR = 60.0  # [m] from where things are seen
SPEED, SPEED_SD = 0.7, 0.35  # [m per frame] mean, and deviation around it
FOCUS = 60.0  # [pixels of 64] focal length
SHAKE = 0.5  # [pixels of 64] deviation of the horizon
BEND = 4e-4  # [1/m] deviation of the road's curvature
BOXES = 7
CUT = 1 / 150  # chance of another road in every frame


@dataclass
class Box:
    """Something beside the road, or a car on it."""

    across: float  # [m] from the middle of the road
    ahead: float  # [m]
    width: float
    height: float
    colour: np.ndarray  # (3,)
    own: float  # [m per frame] its own speed along the road


class Drive:
    """One endless clip.

    Args:
        rng: all chance comes from here.
        size: height and width [pixels].
    """

    def __init__(self, rng: np.random.Generator, size: int):
        self._rng, self._size = rng, size
        self._cut()

    def _cut(self) -> None:
        """Begins another road."""
        rng = self._rng
        self._ground, self._hills = (field(rng, SIDE, 1, slope)[..., 0] for slope in (1.0, 1.6))
        self._sky, self._land, self._grass, self._asphalt = (
            (base + rng.uniform(-0.12, 0.12, 3)).astype(np.float32)
            for base in (0.75, 0.4, np.array([0.35, 0.45, 0.25]), 0.4)
        )
        self._driven, self._turned = 0.0, rng.uniform(0, SIDE)
        self._drift = np.zeros(4)  # speed, horizon up and sideways, curvature, in deviations
        self._boxes = [self._box(rng.uniform(2, FAR)) for _ in range(BOXES)]

    def _box(self, ahead: float) -> Box:
        rng = self._rng
        side = rng.choice((-1, 1))
        colour = rng.uniform(0.1, 0.9, 3).astype(np.float32)
        if rng.random() < 0.35:  # a car, in either lane
            return Box(side * ROAD / 2, ahead, 1.8, 1.5, colour, rng.uniform(-0.6, 0.5))
        height = rng.uniform(2, 8)
        return Box(side * rng.uniform(5, 14), ahead, rng.uniform(1, 6), height, colour, 0.0)

    def frame(self) -> np.ndarray:
        """Returns the next frame, (size, size, 3) uint8."""
        if self._rng.random() < CUT:
            self._cut()
        self._move()
        scale = self._size / VIEW
        up, sideways = SHAKE * self._drift[1:3]
        horizon = (0.42 * VIEW + up) * scale
        middle = (self._size - 1) / 2 + 2 * sideways * scale
        picture = self._distance(horizon)
        self._lay_ground(picture, horizon, middle, scale)
        for box in sorted(self._boxes, key=lambda box: -box.ahead):
            self._paint(picture, box, horizon, middle, scale)
        return to_bytes(picture)

    def _move(self) -> None:
        rng = self._rng
        self._drift = wander(rng, self._drift, 0.9, 1.0)
        speed = max(0.0, SPEED + SPEED_SD * self._drift[0])
        self._driven += speed
        self._turned += 60 * BEND * self._drift[3] * speed * FOCUS
        for number, box in enumerate(self._boxes):
            box.ahead += box.own - speed
            if not 1 < box.ahead < 1.5 * FAR:
                self._boxes[number] = self._box(rng.uniform(0.7, 1) * FAR)

    def _distance(self, horizon: float) -> np.ndarray:
        """Sky with hills, which turn as the road bends."""
        size = self._size
        at = np.array([0.0, self._turned])
        outline = view(self._hills[..., None], size, at, 1.0)[0, :, 0]  # (size,)
        top = horizon - (6 + 3 * outline) * size / VIEW
        rows = np.arange(size)[:, None]
        clear = np.clip(top - rows, 0, 1)[..., None].astype(np.float32)
        return self._land + clear * (self._sky - self._land)

    def _lay_ground(self, picture: np.ndarray, horizon: float, middle: float, scale: float) -> None:
        """Paints road, line and grass below the horizon, in place."""
        first = int(np.ceil(horizon + scale))
        below = np.arange(first, self._size)
        ahead = HEIGHT * FOCUS * scale / (below - horizon)  # (rows,) [m]
        column = np.arange(self._size)
        across = (column - middle) * (ahead / (FOCUS * scale))[:, None]
        across -= 0.5 * BEND * self._drift[3] * ahead[:, None] ** 2  # (rows, size) [m]
        along = ahead + self._driven
        texel = (TEXELS * along).astype(int)[:, None], (TEXELS * across).astype(int)
        rough = self._ground[texel[0] % SIDE, texel[1] % SIDE][..., None]
        near = (1 / (1 + ahead / 15)).astype(np.float32)[:, None, None]  # far texture blurs
        on_road = (np.abs(across) < ROAD)[..., None]
        colour = np.where(on_road, self._asphalt + 0.04 * near * rough, self._grass)
        colour = np.where(on_road, colour, colour + 0.15 * near * rough)
        dashed = (np.abs(across) < LINE) & ((along % DASH < DASH / 2)[:, None])
        colour[dashed] = 0.9
        picture[first:] = colour

    def _paint(
        self, picture: np.ndarray, box: Box, horizon: float, middle: float, scale: float
    ) -> None:
        """Paints one box, in place."""
        large = FOCUS * scale / box.ahead  # pixels a metre
        centre = middle + (box.across + 0.5 * BEND * self._drift[3] * box.ahead**2) * large
        left, right = centre - box.width / 2 * large, centre + box.width / 2 * large
        bottom = horizon + HEIGHT * large
        top = bottom - box.height * large
        rows = slice(max(0, round(top)), max(0, round(bottom)))
        columns = slice(max(0, round(left)), max(0, round(right)))
        shade = np.float32(1 / (1 + box.ahead / FAR))
        picture[rows, columns] = self._land + shade * (box.colour - self._land)
