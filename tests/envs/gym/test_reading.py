"""Spaces beyond flat numbers: every way to lay a picture out, parts side by side, many choices."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from lib.envs.gym import pictures
from lib.envs.gym.custom import custom_domain
from lib.envs.gym.reading import describe
from tests.envs.gym.worlds import Sampling

H, W, K = 96, 64, 4
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(256, size=(H, W, 3), dtype=np.uint8)
GREY = RNG.integers(256, size=(H, W, 1), dtype=np.uint8)


def older(newest: np.ndarray, count: int = K) -> list[np.ndarray]:
    """Frames of which the last is the newest."""
    drawn = RNG.integers(256, size=(count - 1, *newest.shape), dtype=np.uint8)
    return [*drawn, newest]


def shown(picture: np.ndarray) -> np.ndarray:
    """(H, W, 1 or 3) as (64, 64, 3): by hand, every third of 96 rows but the last is skipped."""
    rows = [int((i + 0.5) * H / 64) for i in range(64)]
    return np.broadcast_to(picture[rows], (64, 64, 3))


FIRST = np.moveaxis(COLOURS, -1, 0)
LAYOUTS = {
    "colours last": (COLOURS, COLOURS),
    "colours first": (FIRST, COLOURS),
    "grey of two axes": (GREY[..., 0], GREY),
    "grey first": (GREY[None, ..., 0], GREY),
    "grey frames first": (np.stack(older(GREY[..., 0])), GREY),
    "grey frames last": (np.concatenate(older(GREY), -1), GREY),
    "colour frames last": (np.concatenate(older(COLOURS), -1), COLOURS),
    "colour frames first": (np.concatenate(older(FIRST)), COLOURS),
    "stacked colours last": (np.stack(older(COLOURS)), COLOURS),
    "stacked colours first": (np.stack(older(FIRST)), COLOURS),
    "stacked grey": (np.stack(older(GREY)), GREY),
}


@pytest.mark.parametrize(("obs", "newest"), LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_of_a_picture_shows_its_newest_frame(obs, newest):
    found = describe(Sampling(spaces.Box(0, 255, obs.shape, np.uint8)))
    assert (found.obs_space.kind, found.obs_space.shape) == ("image", (64, 64, 3))
    assert found.obs_space.dtype == torch.uint8
    np.testing.assert_array_equal(found.read(obs), shown(newest))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_float_pictures_are_stretched_to_bytes(low, high):
    found = describe(Sampling(spaces.Box(low, high, (3, H, W))))
    obs = (low + (high - low) * FIRST / 255).astype(np.float32)
    np.testing.assert_array_equal(found.read(obs), shown(COLOURS))


def test_parts_without_a_picture_are_one_vector_in_order():
    space = spaces.Dict(
        a=spaces.Box(-9.0, 9.0, (2,)),
        b=spaces.Discrete(3, start=5),
        c=spaces.MultiDiscrete([2, 3], start=[0, 1]),
        d=spaces.MultiBinary(2),
        e=spaces.Box(0.0, 1.0, (2, 2)),
    )
    found = describe(Sampling(space))
    assert (found.obs_space.kind, found.obs_space.shape) == ("vector", (2 + 3 + 5 + 2 + 4,))
    obs = {
        "a": [7.0, -8.0],
        "b": 6,
        "c": np.array([1, 3]),
        "d": np.array([0, 1]),
        "e": np.array([[0.1, 0.2], [0.3, 0.4]]),
    }
    expected = [7, -8, 0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0.1, 0.2, 0.3, 0.4]
    np.testing.assert_allclose(found.read(obs), expected, rtol=1e-6)


def test_numbers_beside_a_picture_are_drawn_below_it():
    space = spaces.Dict(
        eye=spaces.Box(0, 255, (64, 64, 3), np.uint8),
        speed=spaces.Box(np.array([-2.0, -np.inf]), np.array([2.0, np.inf]), dtype=np.float64),
        gear=spaces.Discrete(3),
    )
    found = describe(Sampling(space))
    assert found.obs_space.kind == "image"
    picture = np.full((64, 64, 3), 77, np.uint8)
    stored = found.read({"eye": picture, "speed": np.array([1.0, -3.0]), "gear": 2})
    assert stored.shape == (64, 64, 3) and stored.dtype == np.uint8
    assert (stored[:60] == 77).all()  # one line of sixteen squares takes four rows
    squares = stored[60:, ::4, 0]
    assert (squares == squares[0]).all() and (stored[60] == stored[60, :, :1]).all()
    # 1 lies three quarters up from -2 to 2; -3 / (1 + 3) = -3/4, an eighth of the way up.
    assert squares[0].tolist() == [191, 32, 0, 0, 255, *[0] * 11]


def test_a_picture_beside_numbers_loses_rows_evenly():
    picture = np.arange(64, dtype=np.uint8)[:, None, None] * np.ones((1, 64, 3), np.uint8)
    stored = pictures.beside(picture, np.linspace(0, 1, 33))
    assert stored[:52, 0, 0].tolist() == [int((i + 0.5) * 64 / 52) for i in range(52)]


@pytest.mark.parametrize(
    ("space", "choices"),
    [
        (spaces.MultiDiscrete([2, 3], start=[0, 5]), [[a, b] for a in (0, 1) for b in (5, 6, 7)]),
        (spaces.MultiBinary(2), [[0, 0], [0, 1], [1, 0], [1, 1]]),
        (spaces.MultiBinary((2, 1)), [[[a], [b]] for a in (0, 1) for b in (0, 1)]),
    ],
    ids=["choices", "bits", "table"],
)
def test_many_choices_are_one_over_all_combinations(space, choices):
    found = describe(Sampling(action=space))
    assert (found.actions.size, found.actions.discrete) == (len(choices), True)
    done = [found.act(row) for row in np.eye(len(choices), dtype=np.float32)]
    assert [action.tolist() for action in done] == choices
    assert all(space.contains(action) for action in done)


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        (spaces.Box(0.0, 1.0, (4, 40, 40)), None),
        (spaces.Dict(a=spaces.Box(0, 255, (40, 40), np.uint8), b=spaces.MultiBinary(3)), None),
        (spaces.Dict(a=spaces.Box(-1.0, 1.0, (2,)), b=spaces.MultiDiscrete([2, 3])), None),
        (None, spaces.MultiDiscrete([3, 5])),
        (None, spaces.MultiBinary((2, 2))),
    ],
)
def test_such_environments_are_stepped_and_go_on_where_they_were(observation, action, generator):
    domain = custom_domain(lambda: Sampling(observation, action), episode_length=7)
    env = domain.make(0)
    seen = [env.reset(3, generator)]
    for _ in range(4):
        seen.append(env.step(env.actions.random(3, generator))[0])
    assert all(obs.shape == (3, *domain.obs_space.shape) for obs in seen)
    again = domain.make(0)
    again.load_state_dict(env.state_dict())
    np.testing.assert_array_equal(again.pose(), env.pose())
