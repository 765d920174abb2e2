import importlib.util

import numpy as np
import pytest

from lib.core.errors import UserError
from lib.envs.pixels import suite_env
from lib.envs.pixels.suite_env import SuiteEnv
from lib.envs.pixels.tasks import SPARSE, TASKS
from tests.envs.pixels.conftest import draws

pytestmark = pytest.mark.filterwarnings("ignore:`in1d`")  # dm_control's quadruped
# One of every way in which a task changes its model, ends, or takes its actions.
KINDS = ["walker_run", "cup_catch", "reacher_easy", "quadruped_walk", "cheetah_run_sparse"]


def scaled(spec, action: np.ndarray) -> np.ndarray:
    return (spec.maximum + spec.minimum) / 2 + (spec.maximum - spec.minimum) / 2 * action


@pytest.mark.parametrize("name", KINDS)
def test_steps_are_those_of_dm_control_of_the_same_seed(dm_control, name):
    task = TASKS[name]
    ours = SuiteEnv(task, repeat=2)
    ours.begin(1)  # so that something has been there before
    ours.step(draws(1, task.actions)[0])
    ours.begin(7)
    theirs = dm_control.load(task.domain, task.task, task_kwargs={"random": 7})
    theirs.reset()
    for action in draws(40, task.actions).astype(np.float64):
        rewards = [theirs.step(scaled(theirs.action_spec(), action)).reward for _ in range(2)]
        kept = [reward for reward in rewards if not task.threshold or reward >= SPARSE]
        outcome = ours.step(action.astype(np.float32))
        assert outcome == (sum(kept), False, False)
        assert np.array_equal(ours.data.qpos, theirs.physics.data.qpos)
        assert np.array_equal(ours.data.geom_xpos, theirs.physics.data.geom_xpos)


@pytest.mark.parametrize("name", TASKS)
def test_a_restored_state_goes_on_bit_for_bit_in_every_task(dm_control, name):
    task = TASKS[name]
    env = SuiteEnv(task, repeat=2)
    assert len(env._middle) == task.actions
    before, after = draws(8, task.actions), draws(6, task.actions, seed=1)
    env.begin(3)
    for action in before:
        env.step(action)
    saved = env.state()
    expected = [(env.step(action), env.state()) for action in after]
    env.begin(4)
    env.restore(3, saved)
    assert np.array_equal(env.state(), saved)
    for action, (outcome, state) in zip(after, expected, strict=True):
        assert env.step(action) == outcome and np.array_equal(env.state(), state)


def test_what_a_task_draws_for_its_model_comes_back_with_the_seed(dm_control):
    env, other = (SuiteEnv(TASKS["reacher_easy"], repeat=2) for _ in range(2))
    env.begin(5)
    target = env.model.geom("target").pos.copy()
    other.begin(6)
    assert not np.array_equal(other.model.geom("target").pos, target)
    other.restore(5, env.state())
    assert np.array_equal(other.model.geom("target").pos, target)


def test_the_threshold_counts_every_env_step_by_itself(dm_control, monkeypatch):
    env = SuiteEnv(TASKS["walker_run_sparse"], repeat=3)
    env.begin(0)
    rewards = iter((0.24, 0.25, 0.9))
    monkeypatch.setattr(env._env.task, "get_reward", lambda physics: next(rewards))
    assert env.step(np.zeros(6)).reward == pytest.approx(0.25 + 0.9)


def test_actions_are_rescaled_to_the_bounds_and_cut_there(dm_control):
    env = SuiteEnv(TASKS["quadruped_walk"], repeat=1)
    env.begin(0)
    spec, seen = env._env.action_spec(), []
    env._env.task.before_step = lambda action, physics: seen.append(action)
    for action in (np.full(12, 1.0), np.full(12, -7.0), np.zeros(12)):
        env.step(action)
    np.testing.assert_allclose(seen[0], spec.maximum)
    np.testing.assert_allclose(seen[1], spec.minimum)
    np.testing.assert_allclose(seen[2], (spec.minimum + spec.maximum) / 2)


def test_actions_without_bounds_are_taken_as_they_are(dm_control):
    env = SuiteEnv(TASKS["lqr_lqr_2_1"], repeat=1)
    env.begin(0)
    env.step(np.array([0.5]))
    assert env.data.ctrl[0] == 0.5


def test_an_episode_goes_on_beyond_the_suites_limit(dm_control):
    env = SuiteEnv(TASKS["pendulum_swingup"], repeat=500)
    env.begin(0)
    assert [env.step(np.zeros(1)).terminal for _ in range(3)] == [False] * 3
    assert env.data.time > 25  # [s], of which the suite's limit is 20


def test_a_task_that_ends_is_terminal_and_leaves_its_decision_early(dm_control, monkeypatch):
    env = SuiteEnv(TASKS["walker_run"], repeat=4)
    env.begin(0)
    ends = iter((None, 0.0))
    monkeypatch.setattr(env._env.task, "get_termination", lambda physics: next(ends))
    monkeypatch.setattr(env._env.task, "get_reward", lambda physics: 1.0)
    assert env.step(np.zeros(6)) == (2.0, True, False)


def test_physics_that_leaves_all_bounds_is_told_of(dm_control):
    env = SuiteEnv(TASKS["walker_run"], repeat=2)
    env.begin(0)
    env.data.qvel[:] = 1e12
    outcome = env.step(np.zeros(6))
    assert outcome.broken and not outcome.terminal
    env.begin(0)
    assert not env.step(np.zeros(6)).broken


def test_a_state_of_another_task_is_refused(dm_control):
    env, other = SuiteEnv(TASKS["walker_run"], 2), SuiteEnv(TASKS["cup_catch"], 2)
    other.begin(0)
    with pytest.raises(ValueError, match="of another task than walker_run"):
        env.restore(0, other.state())


def test_a_missing_suite_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="mujoco is not installed; .*dmc need it: pip install"):
        suite_env.check_installed()
