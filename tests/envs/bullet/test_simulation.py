import importlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lib.core.errors import UserError
from lib.envs.bullet import simulation
from lib.envs.bullet.simulation import Simulation
from lib.envs.bullet.tasks import TASKS

PRINTS = """
from lib.envs.bullet.simulation import Simulation
from lib.envs.bullet.tasks import TASKS
print("before")
made = Simulation(TASKS["Hopper"])
made.begin(3)
made.picture(16, "link")
made.close()
print("after")
"""


def played(made: Simulation, seed: int, steps: int = 9) -> list[np.ndarray]:
    """What is observed and paid in an episode of random actions."""
    draws = np.random.default_rng(seed)
    found = [made.begin(seed)]
    for _ in range(steps):
        obs, reward, _ = made.step(draws.uniform(-1, 1, made.task.actions))
        found += [obs, np.array(reward)]
    return found


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, one, other))


@pytest.mark.parametrize("name", TASKS)
def test_an_episode_follows_from_its_seed_whatever_was_played_before(bullet, name):
    task = TASKS[name]
    made, fresh = Simulation(task), Simulation(task)
    first, second, again = played(made, 1), played(made, 2), played(made, 1)
    assert same(first, again) and not same(first, second)
    assert same(second, played(fresh, 2))
    assert first[0].shape == (task.numbers,) and first[0].dtype == np.float32
    made.close()
    fresh.close()


@pytest.mark.parametrize("name", TASKS)
def test_drawing_shows_the_body_and_moves_nothing(bullet, name):
    made, other = Simulation(TASKS[name]), Simulation(TASKS[name])
    for one in (made, other):
        one.begin(5)
    picture = made.picture(32, "link")
    assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8
    shown = (picture != 255).any(-1).mean()
    assert 0.01 < shown < 0.9
    action = np.full(TASKS[name].actions, 0.3)
    for mine, theirs in zip(made.step(action), other.step(action), strict=True):
        assert np.array_equal(mine, theirs)


def test_the_papers_camera_shows_a_hopper_without_floor_and_torso_shows_the_floor(bullet):
    made = Simulation(TASKS["Hopper"])
    made.begin(0)
    link, torso = made.picture(64, "link"), made.picture(64, "torso")
    assert (link[40:] == 255).all() and (torso[40:] != 255).any(-1).mean() > 0.8
    pendulum = Simulation(TASKS["InvertedPendulum"])
    pendulum.begin(0)
    assert np.array_equal(pendulum.picture(64, "link"), pendulum.picture(64, "torso"))


def test_what_the_library_prints_goes_nowhere(bullet):
    told = subprocess.run(
        [sys.executable, "-c", PRINTS], capture_output=True, text=True, timeout=600, check=True
    )
    assert told.stdout.split() == ["before", "after"] and told.stderr == ""


def test_a_missing_package_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(simulation.importlib.util, "find_spec", lambda name: None)
    told = r"pybullet and pybullet_envs_gymnasium not installed in this Python 3\.\d+ on \w+; .*"
    with pytest.raises(
        UserError, match=told + r"pip install -e \.\[pybullet\].*Hopper-v5"
    ) as error:
        simulation.check_installed()
    assert "\n" not in str(error.value)


def test_a_wheel_for_another_machine_is_said_in_one_line(monkeypatch):
    def broken(name):
        raise ImportError("wrong ELF class")

    monkeypatch.setattr(simulation.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(UserError, match="pybullet cannot be used in this .*: wrong ELF class"):
        simulation.check_installed()


def test_gravity_is_the_tasks_own_whatever_was_simulated_before(bullet):
    body = TASKS["InvertedPendulumSwingup"]

    def speed(simulation, task):
        """Returns how fast a pole falls that starts at an angle, in rad/s after ten steps."""
        simulation.task = task
        simulation.begin(3)
        return max(abs(simulation.step(np.zeros(1))[0][-1]) for _ in range(10))

    simulation = Simulation(body)
    plain, weak, none, again = (
        speed(simulation, task)
        for task in (body, replace(body, gravity=4.9), replace(body, gravity=0.0), body)
    )
    assert plain == again
    assert weak == pytest.approx(plain / 2, rel=0.1)
    assert none == pytest.approx(0, abs=1e-6)
