"""A disc is pushed about a small picture, on a plain ground or before moving clips.

The toy is data, not a world to act in: episodes of random pushes with the positions that a probe
asks for. The disc covers three percent of the picture, so that a loss over all pixels is mostly
about the ground. Clips are textures that glide at a constant velocity; test clips are others than
training clips.

Letters: E episodes, T steps, S side of a picture [pixels], N pictures, M clips.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.core.errors import UserError, unknown
from lib.core.seeding import stream_seed
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.pixels.fields import field, to_bytes
from lib.envs.pixels.splits import check_split

SIDE, STEPS, CLIPS = 32, 100, 12
RADIUS = 3.1  # [pixels]; 30 of 1,024 pixels
REACH = 1 - 2 * RADIUS / SIDE  # farthest position of the centre; the picture ends at 1
COLOUR = np.array([1.0, 1.0, 1.0], np.float32)  # brightness 0 to 1
GROUND = np.array([0.2, 0.2, 0.25], np.float32)
BACKGROUNDS = ("plain", "moving")

# How the disc moves, in half pictures a step.
ACTION_KEEP, ACTION_NOISE = 0.8, 0.5  # an action is so much of the last one, and chance
DRAG, PUSH = 0.8, 0.02  # share of a velocity that stays; what an action of 1 adds

# What the clips are made of.
TEXTURE = 64  # side of a texture [pixels]; it goes on at the opposite edge
SLOPE = 1.25  # of amplitude over frequency, as in `lib.envs.pixels.natural`
MEAN, CONTRAST = (0.25, 0.5), 0.15  # range of a clip's mean colours; their standard deviation
SPEED = (0.5, 1.5)  # [pixels a step]

SPACE = ObsSpace("image", (SIDE, SIDE, 3), torch.uint8)
ACTIONS = ActionSpace(2, discrete=False)


class DiscEpisodes(NamedTuple):
    """Whole episodes. Record t + 1 shows where action t led to, and reward t is received there."""

    obs: Tensor  # (E, T+1, S, S, 3) uint8
    action: Tensor  # (E, T, 2) in [-1, 1], to the right and down
    reward: Tensor  # (E, T) 1 - distance to the centre [half pictures]
    position: Tensor  # (E, T+1, 2) of the disc's centre in [-1, 1], to the right and down
    clip: Tensor  # (E,) int64, which of the split's clips is shown; -1 on a plain ground


def episodes(count: int, background: str, split: str, seed: int) -> DiscEpisodes:
    """Draws episodes of random pushes.

    Each episode shows one of the split's clips from a place of its own. Motion does not depend on
    the background: the same seed and split give the same positions on both.

    Args:
        count: E.
        background: "plain" or "moving".
        split: "train" or "test", which share neither clips nor pushes.
        seed: of pushes, clips and where clips begin.

    Raises:
        UserError: no such background or split, or no episode.
    """
    if background not in BACKGROUNDS:
        raise unknown("background of the disc", background, BACKGROUNDS)
    check_split(split)
    if count < 1:
        raise UserError(f"count {count}: draw at least 1 episode of the disc")
    action, position = pushes(count, _chance(seed, f"pushes-{split}"))
    shape = (count, STEPS + 1, SIDE, SIDE, 3)
    behind, clip = np.broadcast_to(GROUND, shape), np.full(count, -1)
    if background == "moving":
        behind, clip = clips(count, _chance(seed, f"clips-{split}"))
    cover = coverage(position).astype(np.float32)[..., None]
    obs = to_bytes(behind + cover * (COLOUR - behind))
    reward = 1 - np.linalg.norm(position[:, 1:], axis=-1)
    made = (torch.from_numpy(part.astype(np.float32)) for part in (action, reward, position))
    return DiscEpisodes(torch.from_numpy(obs), *made, torch.from_numpy(clip))


def _chance(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng(stream_seed(seed, f"disc-{name}"))


def pushes(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns smoothed random actions (E, T, 2) and the positions that they lead to (E, T+1, 2).

    At the edge the disc bounces off.
    """
    action, position = np.empty((count, STEPS, 2)), np.empty((count, STEPS + 1, 2))
    position[:, 0] = rng.uniform(-REACH, REACH, (count, 2))
    velocity, push = np.zeros((count, 2)), np.zeros((count, 2))
    for t in range(STEPS):
        push = ACTION_KEEP * push + ACTION_NOISE * rng.standard_normal((count, 2))
        action[:, t] = push.clip(-1, 1)
        velocity = DRAG * velocity + PUSH * action[:, t]
        aim = position[:, t] + velocity
        position[:, t + 1] = aim.clip(-REACH, REACH)
        velocity = np.where(aim == position[:, t + 1], velocity, -velocity)
    return action, position


def clips(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns what moves behind E episodes, (E, T+1, S, S, 3) float32, and which clips, (E,).

    A clip is a texture and its velocity; episodes share `CLIPS` of them, but not where they begin.
    """
    textures = np.stack([_texture(rng) for _ in range(CLIPS)])  # (M, TEXTURE, TEXTURE, 3)
    angle, speed = rng.uniform(0, 2 * np.pi, CLIPS), rng.uniform(*SPEED, CLIPS)
    velocity = speed[:, None] * np.stack([np.sin(angle), np.cos(angle)], -1)  # (M, 2)
    which = rng.integers(CLIPS, size=count)
    start = rng.uniform(0, TEXTURE, (count, 2))
    seen = np.empty((count, STEPS + 1, SIDE, SIDE, 3), np.float32)
    for t in range(STEPS + 1):
        seen[:, t] = _views(textures, which, start + t * velocity[which])
    return seen, which


def _texture(rng: np.random.Generator) -> np.ndarray:
    """(TEXTURE, TEXTURE, 3) float32 colours."""
    mean = rng.uniform(*MEAN, 3).astype(np.float32)
    return mean + np.float32(CONTRAST) * field(rng, TEXTURE, 3, SLOPE)


def _views(textures: np.ndarray, which: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Cuts a picture out of each episode's texture, bilinearly: (E, S, S, 3).

    Args:
        textures: (M, TEXTURE, TEXTURE, 3). which: (E,) of them.
        at: (E, 2) row and column of the upper left corner [pixels].
    """
    low = np.floor(at).astype(int)
    part = (at - low).astype(np.float32)[:, :, None, None, None]  # (E, 2, 1, 1, 1)
    rows, columns = (low[:, axis, None] + np.arange(SIDE + 1) for axis in (0, 1))
    rows, columns = rows[:, :, None] % TEXTURE, columns[:, None] % TEXTURE
    seen = textures[which[:, None, None], rows, columns]  # (E, S+1, S+1, 3)
    seen = seen[:, :-1] + part[:, 0] * (seen[:, 1:] - seen[:, :-1])
    return seen[:, :, :-1] + part[:, 1] * (seen[:, :, 1:] - seen[:, :, :-1])


def coverage(position: np.ndarray) -> np.ndarray:
    """Returns how much of every pixel the disc covers, 0 to 1: (..., 2) to (..., S, S).

    Full inside, and falling over one pixel at the edge.
    """
    centre = (position[..., None, None, :] + 1) / 2 * SIDE  # [pixels]
    along = np.arange(SIDE) + 0.5
    across = along - centre[..., 0]  # (..., 1, S) columns
    down = along[:, None] - centre[..., 1]  # (..., S, 1) rows
    return (RADIUS + 0.5 - np.hypot(across, down)).clip(0, 1)
