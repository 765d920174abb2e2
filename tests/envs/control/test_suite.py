import os
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("mujoco", reason="needs mujoco and dm_control")
pytest.importorskip("dm_control", reason="needs mujoco and dm_control")

from absl.testing import absltest
from dm_env import StepType, specs, test_utils

from lib.core.errors import UserError
from lib.envs import gl
from lib.envs.control import suite
from lib.envs.control.tasks import TASKS

IDS = suite.register_gymnasium()
CHOSEN = ["cheetah-jump-and-run", "walker-backflip"]


# dm_env ------------------------------------------------------------------------------------------


class TestCheetahConforms(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own checks, over the end of a short episode."""

    def make_object_under_test(self):
        return suite.load("cheetah-flip", seed=0, time_limit=0.07)


class TestWalkerConforms(test_utils.EnvironmentTestMixin, absltest.TestCase):
    def make_object_under_test(self):
        return suite.load("walker-arabesque", seed=0, time_limit=0.175)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_the_suites_specs(name):
    env = suite.load(name, seed=0)
    cheetah = name.startswith("cheetah")
    shapes = {key: spec.shape for key, spec in env.observation_spec().items()}
    if cheetah:
        assert shapes == {"position": (8,), "velocity": (9,)}
    else:
        assert shapes == {"orientations": (14,), "height": (), "velocity": (9,)}
    assert isinstance(env.action_spec(), specs.BoundedArray) and env.action_spec().shape == (6,)
    assert env.control_timestep() == pytest.approx(0.01 if cheetah else 0.025)
    step = env.reset()
    for _ in range(3):
        step = env.step(np.ones(6))
        assert step.step_type is StepType.MID and 0 <= step.reward <= 1 and step.discount == 1


@pytest.mark.parametrize("name", CHOSEN)
def test_a_seed_decides_the_starts(name):
    def starts(seed: int) -> np.ndarray:
        env = suite.load(name, seed)
        return np.stack(
            [
                np.concatenate(list(map(np.ravel, env.reset().observation.values())))
                for _ in range(2)
            ]
        )

    np.testing.assert_array_equal(starts(3), starts(3))
    assert not np.array_equal(*starts(3)) and not np.array_equal(starts(3), starts(4))


def test_the_limit_is_a_thousand_seconds_so_nothing_resets_by_itself():
    assert suite.load("cheetah-run")._step_limit == pytest.approx(100_000)
    assert suite.load("walker_walk_backwards")._step_limit == pytest.approx(40_000)


@pytest.mark.parametrize("entry", [suite.load, suite.ControlEnv])
def test_an_unknown_task_is_refused(entry):
    with pytest.raises(UserError, match="unknown control task 'cheetah-rum'.*'cheetah-run'"):
        entry("cheetah-rum")


@pytest.mark.parametrize("choice", [None, "disable"])
def test_loading_warns_of_nothing_whatever_can_draw_here(choice):
    # A fresh process, since dm_control chooses once.
    settings = {
        key: value for key, value in os.environ.items() if key not in (gl.CHOICE, gl.DRIVER)
    }
    if choice is not None:
        settings[gl.CHOICE] = choice
    code = (
        "import os; from lib.envs.control import suite; "
        "print(suite.load('walker-run').reset().first()); "
        f"print(os.environ.get({gl.CHOICE!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    first, left = done.stdout.split()
    assert first == "True"
    assert left == choice or choice is None  # what the user chose stays


# gymnasium ---------------------------------------------------------------------------------------


def test_every_task_is_registered_once():
    assert len(IDS) == len(set(IDS)) == len(TASKS)
    assert {"Workbook/CheetahJumpAndRun-v0", "Workbook/WalkerLieDown-v0"} <= set(IDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert suite.register_gymnasium() == IDS


@pytest.mark.parametrize("id", IDS)
@pytest.mark.filterwarnings("ignore:.*Box observation space (min|max)imum value is .*infinity")
def test_every_task_passes_gymnasiums_checks(id):
    env = gymnasium.make(id)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("id", ["Workbook/CheetahRun-v0", "Workbook/WalkerStand-v0"])
def test_an_episode_is_cut_after_a_thousand_steps(id):
    env = gymnasium.make(id)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(1000)]
    assert ends[:-1] == [(False, False)] * 999 and ends[-1] == (False, True)


def test_gymnasiums_seed_decides_the_trajectory():
    def path(seed: int) -> list:
        env = gymnasium.make("Workbook/CheetahJump-v0")
        seen = [env.reset(seed=seed)[0]]
        for _ in range(5):
            obs, reward, *_ = env.step(np.full(6, 0.5, np.float32))
            seen += [obs, reward]
        return [*seen, env.reset()[0]]

    for one, same in zip(path(3), path(3), strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(path(3)[0], path(4)[0])
    assert not np.array_equal(path(3)[0], path(3)[-1])  # the next episode starts elsewhere


def test_broken_physics_ends_the_episode():
    env = suite.ControlEnv("walker-run")
    env.reset(seed=0)
    obs, reward, terminated, truncated, _ = env.step(np.full(6, np.nan))
    assert terminated and not truncated and reward == 0 and np.isfinite(obs).all()


def test_pictures_are_drawn_at_the_pace_of_the_steps():
    assert suite.ControlEnv("cheetah-run").metadata["render_fps"] == 100
    assert suite.ControlEnv("walker-run").metadata["render_fps"] == 40
    assert suite.ControlEnv("walker-run").render() is None
    with pytest.raises(ValueError, match="render_mode 'human'; known: rgb_array"):
        suite.ControlEnv("walker-run", render_mode="human")
    try:
        gl.choose_gl()
    except UserError as error:
        pytest.skip(str(error))
    env = gymnasium.make("Workbook/WalkerRun-v0", render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    assert first.dtype == np.uint8 and first.ndim == 3 and first.std() > 1
    for _ in range(20):
        env.step(np.ones(6, np.float32))
    assert not np.array_equal(first, env.render())
    env.close()
