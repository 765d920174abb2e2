import math

import numpy as np
import pytest
import torch

from lib.envs.pendulum.batch import PendulumBatch
from lib.envs.pendulum.tasks import TASKS


def placed(task: str, *states: tuple[float, float], repeat: int = 1) -> PendulumBatch:
    """Copies in given states: angle and speed of each."""
    env = PendulumBatch(TASKS[task], 7, repeat)
    env.reset(len(states), torch.Generator())
    env.load_state_dict(env.state_dict() | {"state": torch.tensor(states)})
    return env


def slowly(task, angle, speed, actions, repeat):
    """The same in plain numbers, one pendulum at a time."""
    torque, total = np.clip(actions, -1, 1).mean(), 0.0
    for _ in range(repeat):
        speed += 0.05 * (
            1.5 * task.g / task.l * math.sin(angle) + 6 * task.gear * torque / task.l**2
        )
        speed = min(8.0, max(-8.0, speed))
        angle += 0.05 * speed
        total += 0.5 * (math.cos(angle - task.goal) - 0.01 * speed**2 - 0.01 * torque**2)
    return angle, speed, total


def test_a_step_worked_out_by_hand():
    # At rest to the right: v = 0.05 (1.5 10/1 sin(pi/2) + 6 1 1/1) = 0.05 (15 + 6) = 1.05,
    # x = pi/2 + 0.0525; pays 0.5 (cos x - 0.01 1.1025 - 0.01) = 0.5 (-0.052476 - 0.021025).
    env = placed("source-a", (math.pi / 2, 0.0))
    obs, reward = env.step(torch.tensor([[1.0]]))
    x = math.pi / 2 + 0.0525
    assert obs[0].tolist() == pytest.approx([math.cos(x), math.sin(x), 1.05 / 4], abs=1e-6)
    assert float(reward) == pytest.approx(-0.0367505, abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("repeat", [1, 2, 3])
def test_steps_equal_a_slow_loop(task, repeat, generator):
    env = PendulumBatch(TASKS[task], 20, repeat)
    env.reset(5, generator)
    for _ in range(20):
        before = env.state_dict()["state"].double().numpy()
        action = 3 * (2 * torch.rand(5, env.actions.size, generator=generator) - 1)
        obs, reward = env.step(action)
        for row in range(5):
            angle, speed, paid = slowly(TASKS[task], *before[row], action[row].numpy(), repeat)
            wanted = [math.cos(angle), math.sin(angle), speed / 4]
            assert obs[row].tolist() == pytest.approx(wanted, abs=2e-5)
            assert float(reward[row]) == pytest.approx(paid, abs=2e-5)
            assert env.pose()[row, 0] == pytest.approx(angle, abs=2e-5)


def test_two_actions_are_averaged_and_a_gear_below_0_turns_the_other_way():
    env = placed("source-b", (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    obs, _ = env.step(torch.tensor([[1.0, -1.0], [1.0, 0.0], [0.5, 0.5]]))
    turned = obs[:, 2] * 4  # 0.05 * 6 * -1 * 0.5 / 1.44 = -0.104167
    assert turned.tolist() == pytest.approx([0, -0.104167, -0.104167], abs=1e-6)


def test_speeds_and_actions_are_cut():
    env = placed("source-a", (1.0, 7.9), (1.0, 7.9))
    obs, reward = env.step(torch.tensor([[1.0], [9.0]]))
    assert obs[:, 2].tolist() == [2.0, 2.0]  # 8 / 4
    assert reward[0] == reward[1]


def test_episodes_start_hanging_within_half_a_unit(generator):
    env = PendulumBatch(TASKS["target"], 7)
    env.reset(4_001, generator)
    off = env.state_dict()["state"] - torch.tensor([math.pi, 0.0])
    assert off.abs().max() <= 0.5 + 1e-6 and off.amax(0).min() > 0.49 and off.amin(0).max() < -0.49
    # A uniform number of half-width 0.5 has deviation 0.289; of 4,001 the mean is off by 0.0046.
    assert off.mean(0).abs().max() < 0.02


def test_copies_that_wait_or_have_ended_stand_still(generator):
    env = PendulumBatch(TASKS["source-a"], 2)
    obs = env.reset(3, generator)
    one = torch.tensor([True, False, True])
    after, reward = env.step(torch.ones(3, 1), only=one)
    assert torch.equal(after[1], obs[1]) and reward[1] == 0 and (reward[one] != 0).all()
    later, _ = env.step(torch.ones(3, 1))
    assert env.ended.tolist() == [True, False, True] and not env.terminal.any()
    last, reward = env.step(torch.ones(3, 1))
    assert torch.equal(last[[0, 2]], later[[0, 2]]) and reward[0] == reward[2] == 0
    again = env.restart(torch.tensor([True, False, False]), generator)
    assert torch.equal(again[1:], last[1:]) and not torch.equal(again[0], last[0])
    assert env.ended.tolist() == [False, True, True]


def test_a_restart_draws_as_much_whichever_copies_are_meant():
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    for generator, chosen in zip(draws, ([True, False], [False, False]), strict=True):
        env = PendulumBatch(TASKS["source-a"], 2)
        env.reset(2, generator)
        env.restart(torch.tensor(chosen), generator)
    assert torch.equal(*(generator.get_state() for generator in draws))


@pytest.mark.parametrize("side", [0, 16])
def test_a_saved_state_goes_on_bit_for_bit(side, generator):
    env = PendulumBatch(TASKS["source-b"], 11, side=side)
    env.reset(3, generator)
    actions = [env.actions.random(3, generator) for _ in range(9)]
    for action in actions[:4]:
        env.step(action)
    saved = {name: part.clone() for name, part in env.state_dict().items()}
    other = PendulumBatch(TASKS["source-b"], 11, side=side)
    other.load_state_dict(saved)
    for action in actions[4:]:
        for mine, theirs in zip(env.step(action), other.step(action), strict=True):
            assert torch.equal(mine, theirs)
    assert torch.equal(env.ended, other.ended)


def test_a_step_reads_nothing_back(generator, no_host_reads):
    env = PendulumBatch(TASKS["target"], 7)
    env.reset(3, generator)
    with no_host_reads():
        env.step(torch.zeros(3, 1))


def test_actions_of_another_size_are_refused(generator):
    env = PendulumBatch(TASKS["target"], 7)
    env.reset(3, generator)
    with pytest.raises(ValueError, match=r"actions \(3, 2\); target steps with \(3, 1\)"):
        env.step(torch.zeros(3, 2))
