import importlib.util
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from lib.core.config import EnvConfig
from lib.core.errors import UserError
from lib.envs.gym import minihack
from lib.envs.gym.batch import GymBatch
from lib.envs.gym.minihack import build

INSTALLED = all(importlib.util.find_spec(name) is not None for name in minihack.NEEDED)
needs_minihack = pytest.mark.skipif(not INSTALLED, reason="needs the extra: minihack")
NAMES = [task.name for task in minihack.EIGHT]


def batch(name: str, observation: str = "pixels", length: int = 100) -> GymBatch:
    return GymBatch(minihack.recipe(minihack.resolve([name])[0], observation), length)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def played(env: GymBatch, n: int, steps: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Everything that happens in some random decisions, ended copies starting anew."""
    seen = []
    for _ in range(steps):
        obs, reward = env.step(env.actions.random(n, generator))
        seen += [obs, reward, env.ended, env.terminal, env.success]
        if env.ended.any():
            seen.append(env.restart(env.ended, generator))
    return seen


def test_the_eight_tasks_are_known_with_or_without_the_extra():
    given = ["Room-Random-15x15", "MiniHack-River-Narrow-v0", "river", "hide_n_seek"]
    names = [task.name for task in minihack.resolve(given)]
    assert names == ["room-random-15x15", "river-narrow", "river", "hidenseek"]
    assert set(minihack.FOUR) < set(NAMES) and len(NAMES) == 8


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(minihack, "NEEDED", ("nle_that_is_not_there",))
    minihack.package.cache_clear()
    try:
        for ask in (
            lambda: build(EnvConfig(domain="minihack", observation="pixels"), ["river"]),
            lambda: minihack.resolve(["corridor-r2"]),
        ):
            with pytest.raises(UserError, match=r"run `.venv/bin/pip install -e '.\[minihack\]'`"):
                ask()
    finally:
        minihack.package.cache_clear()


@needs_minihack
def test_other_tasks_work_by_name_and_unknown_ones_are_told():
    assert minihack.resolve(["Corridor-R2"])[0].env_id == "MiniHack-Corridor-R2-v0"
    with pytest.raises(UserError, match="unknown minihack task 'rivr'.*did you mean 'river'"):
        minihack.resolve(["rivr"])
    with pytest.raises(UserError, match="unknown observation of minihack 'state'"):
        batch("river", "state")


@needs_minihack
@pytest.mark.parametrize("name", NAMES)
def test_pictures_drawn_from_glyphs_equal_minihacks_own(name):
    recipe = minihack.recipe(minihack.resolve([name])[0], "pixels")
    keys = ("glyphs_crop", "pixel_crop")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # MiniHack leaves its tiles open
        env = minihack._make(minihack.resolve([name])[0], keys)
    glyphs, pictures, random = [], [], np.random.default_rng(0)
    for seed in range(3):
        obs = recipe.begin(env, seed)
        for _ in range(30):
            glyphs.append(recipe.read(obs))
            padded = np.pad(obs["pixel_crop"], ((2, 2), (2, 2), (0, 0)))
            assert padded.shape == (148, 148, 3)
            pictures.append(np.asarray(Image.fromarray(padded).resize((64, 64), Image.NEAREST)))
            obs, _, terminated, truncated, _ = env.step(int(random.integers(8)))
            if terminated or truncated:
                break
    env.close()
    drawn = recipe.obs_space.draw(torch.from_numpy(np.stack(glyphs)))
    np.testing.assert_array_equal(drawn.numpy(), np.stack(pictures))


@needs_minihack
@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_trajectory_in_every_task(name):
    runs = []
    for _ in range(2):
        env, generator = batch(name), draws()
        runs.append([env.reset(3, generator), *played(env, 3, 40, generator)])
        env.close()
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@needs_minihack
def test_each_copy_has_a_level_of_its_own():
    for name in ("room-random-15x15", "river"):
        env = batch(name)
        starts = env.reset(5, draws())
        assert len({start.numpy().tobytes() for start in starts}) == 5
        env.close()


@needs_minihack
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_episode_goes_on_as_if_nothing_had_happened(name):
    env, generator = batch(name, length=30), draws()
    env.reset(3, generator)
    played(env, 3, 45, generator)
    resumed = batch(name, length=30)
    resumed.load_state_dict(env.state_dict())
    expected, found = played(env, 3, 40, draws(1)), played(resumed, 3, 40, draws(1))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    env.close()
    resumed.close()


@needs_minihack
def test_there_are_eight_moves_and_standing_still_costs_a_little():
    env = batch("room-random-15x15")
    env.reset(5, draws())
    assert (env.actions.size, env.actions.discrete) == (8, True)
    paid = torch.cat([env.step(torch.eye(8)[[0] * 5])[1] for _ in range(16)])  # north, into walls
    assert {round(float(one), 6) for one in paid} == {0.0, -0.001}
    env.close()


@needs_minihack
def test_dying_is_terminal_without_reward_and_stairs_are_a_success():
    ends = {}
    for name in ("hidenseek", "room-random-5x5"):
        env, generator = batch(name), draws()
        env.reset(7, generator)
        deaths = wins = 0
        for _ in range(200):
            reward = env.step(env.actions.random(7, generator))[1]
            died, won = env.terminal & ~env.success, env.success
            assert (reward[died] <= 0).all() and (reward[died] >= -0.001).all()
            assert (reward[won] > 0.99).all() and env.terminal[won].all()
            deaths, wins = deaths + int(died.sum()), wins + int(won.sum())
            env.restart(env.ended, generator)
        ends[name] = deaths, wins
        env.close()
    assert ends["hidenseek"][0] and ends["room-random-5x5"][1]


@needs_minihack
@pytest.mark.parametrize("length", [100, 500])
def test_a_time_limit_is_never_terminal(length):
    # A room of 15x15 gives up by itself after 300 steps, and calls that the end of the game.
    env = batch("room-random-15x15", length=length)
    env.reset(2, draws())
    for _ in range(300):
        env.step(torch.eye(8)[[0, 0]])
    assert env.ended.all() and not env.terminal.any() and not env.success.any()
    env.close()


@needs_minihack
@pytest.mark.parametrize("name", NAMES)
def test_symbols_stay_within_their_classes(name):
    env, generator = batch(name, "symbols"), draws()
    seen = [env.reset(3, generator)]
    for _ in range(40):
        seen.append(env.step(env.actions.random(3, generator))[0])
    stacked = torch.stack(seen)
    assert stacked.shape[2:] == (9, 9, 2) and stacked.dtype == torch.uint8
    assert stacked[..., 0].max() < minihack.CLASSES[0]
    assert stacked[..., 1].max() < minihack.CLASSES[1]
    env.close()


@needs_minihack
def test_a_stream_of_the_papers_four_can_be_built_and_drawn():
    ours = build(EnvConfig(domain="minihack", observation="pixels"), minihack.FOUR)
    assert (ours.obs_space.kind, ours.obs_space.shape) == ("image", (9, 9))
    assert (ours.obs_space.dtype, ours.obs_dim, ours.optimum(0)) == (torch.int16, 81, 1.0)
    env = ours.make(0)
    env.reset(2, draws())
    assert ours.scene(0).frame(env.pose()[0]).shape == (256, 256, 3)
    env.close()
    symbols = build(EnvConfig(domain="minihack", observation="symbols"), minihack.FOUR)
    with pytest.raises(UserError, match="symbols, which cannot be drawn"):
        symbols.scene(0)
