import numpy as np
import pytest

from lib.core.errors import UserError
from lib.envs.pixels.procedural import KINDS, Procedural
from lib.envs.pixels.rain import Rain

AHEAD, REACH = 5, 10  # frames, and the largest shift that is tried [pixels]


def clip(kind: str, split: str = "train", seed: int = 0, frames: int = 200, size: int = 64):
    source = Procedural(kind, split, size)
    source.reset(np.random.default_rng(seed))
    return np.stack([source.next() for _ in range(frames)])


def extrapolated(frames: np.ndarray) -> float:
    """Squared error of moving a frame on as the last five moved, over that of repeating it."""
    film = frames.astype(np.float32) / 255
    inner = slice(REACH, -REACH)
    shifts = [(y, x) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1)]
    moved, repeated = 0.0, 0.0
    for at in range(AHEAD, len(film) - AHEAD, 13):
        before, now, later = film[at - AHEAD], film[at], film[at + AHEAD]

        def error(source, target, shift):
            return np.square(np.roll(source, shift, (0, 1)) - target)[inner, inner].mean()

        best = min(shifts, key=lambda shift, a=before, b=now: error(a, b, shift))
        moved += error(now, later, best)
        repeated += error(now, later, (0, 0))
    return moved / repeated


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("split", ["train", "test"])
def test_natural_clips_change_as_much_as_films_do(split, seed):
    frames = clip("natural", split, seed, 500).astype(np.float32) / 255
    assert 0.015 < np.abs(np.diff(frames, axis=0)).mean() < 0.06


@pytest.mark.parametrize("kind", ["natural", "drive", "texture"])
def test_their_motion_cannot_be_extrapolated(kind):
    assert extrapolated(clip(kind, frames=300)) > 0.9


def test_a_texture_of_constant_velocity_would_not_pass():
    still = clip("natural", frames=1)[0]
    assert extrapolated(np.stack([np.roll(still, t, 1) for t in range(40)])) < 0.5


def test_rain_is_white_on_black_and_falls_with_its_slant():
    frames = clip("rain", frames=40)
    assert set(np.unique(frames)) == {0, 255}
    assert 0.01 < (frames > 0).mean() < 0.2
    rain = Rain(np.random.default_rng(0), 64)
    before = rain._drops.copy()
    rain.frame()
    fell = rain._drops - before
    step = np.array((rain._slant * rain._speed, rain._length * rain._speed))
    assert (fell == step).all(1).mean() > 0.9  # the others left, and began again
    assert -3 <= rain._slant <= 3 and 50 <= len(rain._drops) <= 100


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_alone_decides_what_is_shown(kind):
    assert np.array_equal(clip(kind, seed=1, frames=20), clip(kind, seed=1, frames=20))
    assert not np.array_equal(clip(kind, seed=1, frames=3), clip(kind, seed=2, frames=3))


@pytest.mark.parametrize("kind", KINDS)
def test_no_clip_of_one_split_is_shown_in_the_other(kind, monkeypatch):
    seeds = {}
    real = np.random.default_rng
    monkeypatch.setattr(
        np.random, "default_rng", lambda seed: seeds.setdefault(now, set()).add(seed) or real(seed)
    )
    for now in ("train", "test"):
        source = Procedural(kind, now, 16)
        for _ in range(50):
            source.reset(draws := real(0))
            source.reset(draws)
    assert seeds["train"] and not seeds["train"] & seeds["test"]
    assert not np.array_equal(clip(kind, "train", frames=3), clip(kind, "test", frames=3))


@pytest.mark.parametrize("size", [32, 84])
@pytest.mark.parametrize("kind", KINDS)
def test_other_sizes_show_the_same(kind, size):
    large, other = clip(kind, frames=3), clip(kind, frames=3, size=size)
    assert other.shape == (3, size, size, 3) and other.dtype == np.uint8
    assert abs(large.astype(float).mean() - other.astype(float).mean()) < 8


def test_unknown_kinds_and_splits_are_refused():
    with pytest.raises(UserError, match="background 'natrual'.*did you mean 'natural'"):
        Procedural("natrual", "train", 64)
    with pytest.raises(UserError, match="split of backgrounds 'eval'; known: test, train"):
        Procedural("natural", "eval", 64)
