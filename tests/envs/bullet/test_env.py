import gc
from dataclasses import replace

import numpy as np
import pytest

from lib.envs.bullet import env as envs
from lib.envs.bullet.env import BulletEnv, Plan, Pool
from lib.envs.bullet.tasks import TASKS


class Scripted:
    """A simulation that pays 1, 2, 3, ... and ends at a given step."""

    def __init__(self, task, ends_at: int = 99):
        self.task, self.ends_at, self.steps, self.closed = task, ends_at, 0, False

    def begin(self, seed):
        self.steps = 0
        return np.full(self.task.numbers, seed, np.float32)

    def step(self, action):
        self.steps += 1
        self.action = action
        seen = np.full(self.task.numbers, self.steps, np.float32)
        return seen, float(self.steps), self.steps >= self.ends_at

    def close(self):
        self.closed = True


def made(ends_at: int, **changes) -> BulletEnv:
    pool, task = Pool(), TASKS["Hopper"]
    pool.give(Scripted(task, ends_at))
    return BulletEnv(Plan(task, **changes), pool)


def test_a_decision_sums_its_env_steps_and_stops_where_the_task_ends():
    env = made(ends_at=5)
    assert env.reset(seed=7)[0].tolist() == [7] * 15
    told = [env.step(np.zeros(3, np.float32)) for _ in range(3)]
    assert [reward for _, reward, *_ in told] == [1 + 2, 3 + 4, 5]
    assert [ended for _, _, ended, *_ in told] == [False, False, True]
    assert told[-1][0][0] == 5


def test_an_episode_may_go_on_when_its_task_has_ended():
    env = made(ends_at=2, goes_on=True, repeat=3)
    env.reset(seed=7)
    _, reward, ended, cut, _ = env.step(np.zeros(3, np.float32))
    assert reward == 1 + 2 + 3 and not ended and not cut


def test_actions_are_cut_to_the_box():
    env = made(ends_at=9)
    env.reset(seed=7)
    env.step(np.array([-3.0, 0.5, 2.0], np.float32))
    assert env._simulation.action.tolist() == [-1, 0.5, 1]


def test_a_gear_turns_what_is_pushed():
    task = replace(TASKS["Hopper"], gear=-0.5)
    pool = Pool()
    pool.give(Scripted(TASKS["Hopper"]))
    env = BulletEnv(Plan(task), pool)
    assert env._simulation.task == task  # the simulation of another task of the same body
    env.reset(seed=7)
    env.step(np.array([-3.0, 0.5, 1.0], np.float32))
    assert env._simulation.action.tolist() == [0.5, -0.25, -0.5]


def test_simulations_are_used_again_when_an_environment_is_gone(monkeypatch):
    monkeypatch.setattr(envs, "Simulation", Scripted)
    pool, plan = Pool(), Plan(TASKS["Hopper"])
    first = BulletEnv(plan, pool)
    held = first._simulation
    beside = BulletEnv(plan, pool)
    assert beside._simulation is not held
    first.close()
    first.close()
    second = BulletEnv(plan, pool)
    assert second._simulation is held
    del second, first
    gc.collect()
    assert held in pool._idle
    other = BulletEnv(Plan(TASKS["Ant"]), pool)
    assert other._simulation is not held
    for _ in range(envs.IDLE):
        pool.give(Scripted(TASKS["Ant"]))
    assert held.closed and len(pool._idle) == envs.IDLE


@pytest.mark.parametrize("side", [0, 24])
def test_what_is_shown_is_as_promised(bullet, side):
    env = BulletEnv(Plan(TASKS["HalfCheetah"], side=side), Pool())
    seen, _ = env.reset()
    assert env.observation_space.contains(seen)
    seen, *_ = env.step(env.action_space.sample())
    assert env.observation_space.contains(seen)
