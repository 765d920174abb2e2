import numpy as np
import pytest
import torch

from lib.core.seeding import generator
from lib.envs.point_mass import expert
from lib.envs.point_mass.env import GOALS, KEPT, NEAR, PUSH, START, PointMass
from lib.envs.point_mass.tasks import FREE, KNOWN, LINE, QUADRANTS, TURNED

TASKS = [task for task in KNOWN.values() if not task.files]
N = 500


def world(task=FREE, evaluates: bool = False, steps: int = 30) -> PointMass:
    return PointMass(task, steps, evaluates, "cpu")


def test_a_push_moves_a_point_as_on_paper():
    env = world()
    env.reset(1, generator(0, "env"))
    env._begin(torch.zeros(1, 2), torch.tensor([[0.3, 0.4]]))
    obs, reward = env.step(torch.tensor([[1.0, -0.5]]))
    # v = 0.03 (1, -0.5), shown five times as large; x = v; |(0.3, 0.4)| = 0.5 was to go.
    assert obs[0].tolist() == pytest.approx([0.03, -0.015, 0.15, -0.075, 0.3, 0.4, 1.0, 1.0])
    assert float(reward) == pytest.approx((0.5 - np.hypot(0.27, 0.415)) / 0.5, abs=1e-6)
    obs, _ = env.step(torch.zeros(1, 2))
    assert obs[0, :2].tolist() == pytest.approx([PUSH * (1 + KEPT), -0.5 * PUSH * (1 + KEPT)])


@pytest.mark.parametrize("task", TURNED, ids=lambda task: task.name)
def test_a_task_turns_the_push(task):
    env = world(task)
    env.reset(1, generator(0, "env"))
    obs, _ = env.step(torch.tensor([[1.0, 0.0]]))
    angle = np.radians(task.turn)
    assert obs[0, 2:4].tolist() == pytest.approx(
        [5 * PUSH * np.cos(angle), 5 * PUSH * np.sin(angle)], abs=1e-6
    )


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_goals_lie_in_the_tasks_quadrants_and_no_episode_begins_solved(task):
    for evaluates in (False, True):
        env = world(task, evaluates)
        obs = env.reset(N, generator(0, "env"))
        assert not env.success.any() and not env.ended.any()
        assert obs[:, :2].abs().max() <= START and not obs[:, 2:4].any()
        goal = obs[:, 4:6]
        assert (goal.abs() <= GOALS[1]).all() and (goal[:, 0].abs() >= GOALS[0] - 1e-6).all()
        assert torch.equal(obs[:, 6:8], (5 * (goal - obs[:, :2])).clamp(-1, 1))
        if task.axes == 2:
            found = {(int(x), int(y)) for x, y in goal.sign()}
            assert found == {QUADRANTS[q] for q in task.quadrants}
        else:
            assert not goal[:, 1].any() and not obs[:, 1].any()


def test_goals_and_starts_of_evaluation_are_of_cells_that_training_never_has():
    cells = []
    for evaluates in (False, True):
        obs = world(evaluates=evaluates).reset(N, generator(0, "env"))
        each = [((obs[:, 0] + START) * 40).floor(), ((obs[:, 4].abs() - GOALS[0]) * 40).floor()]
        cells.append([{int(c) for c in one} for one in each])
    for train, test in zip(*cells, strict=True):
        assert not train & test and len(train) == len(test) == 10


def test_the_controller_reaches_every_goal():
    for task in TASKS:
        env = world(task, evaluates=True)
        obs, total = env.reset(50, generator(0, "env")), 0
        for _ in range(env.episode_length):
            obs, reward = env.step(expert.act(task, obs))
            total = total + reward
        left = (env.position - env.goal).norm(dim=1) / env.first
        torch.testing.assert_close(total, 1 - left, atol=1e-5, rtol=0)
        assert env.success.all() and env.ended.all() and not env.terminal.any(), task.name
        assert float((env.position - env.goal).norm(dim=1).max()) < NEAR / 2


def test_an_episode_that_is_over_waits():
    env = world(steps=2)
    env.reset(3, generator(0, "env"))
    env.step(torch.ones(3, 2), only=torch.tensor([True, False, True]))
    assert env.time.tolist() == [1, 0, 1]
    env.step(torch.ones(3, 2))
    assert env.ended.tolist() == [True, False, True]
    before = env.pose()
    _, reward = env.step(torch.ones(3, 2))
    assert reward[0] == 0 and reward[1] != 0 and np.array_equal(env.pose()[0], before[0])
    env.restart(torch.tensor([True, False, False]), generator(1, "env"))
    assert env.time.tolist() == [0, 2, 2] and np.array_equal(env.pose()[2], before[2])
    assert not env.pose()[0, 2:4].any()


def test_episodes_in_progress_are_saved_and_go_on():
    env, other = world(LINE), world(LINE)
    env.reset(3, generator(0, "env"))
    env.step(torch.ones(3, 1))
    other.load_state_dict(env.state_dict())
    a, b = (one.step(-torch.ones(3, 1)) for one in (env, other))
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
