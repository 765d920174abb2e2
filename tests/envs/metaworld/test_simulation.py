import importlib.util
from importlib import metadata

import numpy as np
import pytest

from lib.core.errors import UserError
from lib.envs.metaworld import simulation
from lib.envs.metaworld.simulation import Simulation

# Tasks that keep something of a start in other places: an arm alone, a door whose body is moved,
# one whose success is told from where bodies stand, and one with a grasp.
KINDS = ("reach", "door-close", "window-close", "pick-place")


def played(made: Simulation, copy: simulation.Copy, seed: int, steps: int = 5) -> list[np.ndarray]:
    draws = np.random.default_rng(seed)
    found = [made.begin(copy, seed)]
    for _ in range(steps):
        seen, reward, _ = made.step(copy, draws.uniform(-1, 1, 4))
        found += [seen, np.array(reward)]
    return found


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, one, other))


@pytest.mark.parametrize("task", KINDS)
def test_copies_that_take_turns_are_what_each_would_be_alone(metaworld, task):
    shared, seeds = Simulation(task, "v2"), (3, 8)
    copies = [shared.copy() for _ in seeds]
    draws = [np.random.default_rng(seed) for seed in seeds]
    found = [[shared.begin(copy, seed)] for copy, seed in zip(copies, seeds, strict=True)]
    for _ in range(5):
        for mine, copy, draw in zip(found, copies, draws, strict=True):
            seen, reward, _ = shared.step(copy, draw.uniform(-1, 1, 4))
            mine += [seen, np.array(reward)]
    for mine, seed in zip(found, seeds, strict=True):
        alone = Simulation(task, "v2")
        assert same(mine, played(alone, alone.copy(), seed))
    assert not same(*found)


def test_an_episode_follows_from_its_seed_and_shows_its_goal(metaworld):
    made = Simulation("reach", "v2")
    copy = made.copy()
    first, other, again = (played(made, copy, seed) for seed in (1, 2, 1))
    assert same(first, again) and not same(first, other)
    assert first[0].shape == (39,) and first[0].dtype == np.float32
    assert first[0][-3:].any() and not np.array_equal(first[0][-3:], other[0][-3:])
    assert np.array_equal(first[0][-3:], first[-2][-3:]), "a goal stays where it is"


def test_a_start_that_is_solved_already_is_drawn_again(metaworld, monkeypatch):
    made = Simulation("reach", "v2")
    copy = made.copy()
    plain = made.begin(copy, 5)
    answers = iter([True, True, False])
    monkeypatch.setattr(Simulation, "_solved", lambda self, seen: next(answers))
    again = made.begin(copy, 5)
    assert not np.array_equal(plain, again)
    monkeypatch.setattr(Simulation, "_solved", lambda self, seen: True)
    with pytest.raises(UserError, match="20 starts of .* were solved already"):
        made.begin(copy, 5)


@pytest.mark.parametrize("task", KINDS)
def test_looking_whether_a_start_is_solved_changes_nothing(metaworld, task, monkeypatch):
    made = Simulation(task, "v2")
    looked = played(made, made.copy(), 4)
    assert not made._solved(looked[0])
    monkeypatch.setattr(Simulation, "_solved", lambda self, seen: False)
    assert same(looked, played(made, made.copy(), 4))


def test_the_first_versions_rewards_are_others(metaworld):
    one, other = (Simulation("reach", version) for version in ("v2", "v1"))
    found, theirs = (played(made, made.copy(), 4) for made in (one, other))
    assert np.array_equal(found[1], theirs[1]) and not np.array_equal(found[2], theirs[2])


def test_a_missing_package_and_another_version_are_said_in_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"metaworld is not installed.*\[metaworld\]") as error:
        simulation.check_installed()
    assert "\n" not in str(error.value)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(metadata, "version", lambda name: "2.0.0")
    with pytest.raises(UserError, match=r"metaworld 2.0.0 is installed, .*3.1.1: pip install"):
        simulation.check_installed()
