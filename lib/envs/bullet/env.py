"""PyBullet's bodies as gymnasium environments whose decisions last several env steps."""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from lib.envs.bullet.simulation import Simulation
from lib.envs.bullet.tasks import BulletTask

IDLE = 16  # simulations that are kept for the next who asks


@dataclass(frozen=True)
class Plan:
    """What all copies of a task have in common.

    Args:
        task: from `tasks.resolve`.
        repeat: env steps that a decision lasts, their rewards summed.
        side: height and width of pictures [pixels]; 0 shows numbers.
        look_at: see `Simulation.picture`.
        goes_on: whether episodes go on when the task has ended.
    """

    task: BulletTask
    repeat: int = 2
    side: int = 0
    look_at: str = "link"
    goes_on: bool = False


class Pool:
    """Simulations that wait for the next evaluation: making one takes a fifth of a second."""

    def __init__(self) -> None:
        self._idle: list[Simulation] = []

    def take(self, task: BulletTask) -> Simulation:
        """Returns a simulation of a task's body."""
        for simulation in self._idle:
            if simulation.task.kind == task.kind:
                self._idle.remove(simulation)
                simulation.task = task
                return simulation
        return Simulation(task)

    def give(self, simulation: Simulation) -> None:
        """Takes a simulation back."""
        self._idle.append(simulation)
        while len(self._idle) > IDLE:
            self._idle.pop(0).close()


class BulletEnv(gymnasium.Env):
    """A body of PyBullet's, seen as numbers or as pictures.

    Args:
        plan: what it is.
        pool: where its simulation comes from, and goes to when it is gone.

    Raises:
        UserError: PyBullet is missing.
    """

    def __init__(self, plan: Plan, pool: Pool):
        self.plan, self._simulation = plan, pool.take(plan.task)
        self._release = weakref.finalize(self, pool.give, self._simulation)
        self._release.atexit = False
        ones = np.ones(plan.task.actions, np.float32)
        self.action_space = spaces.Box(-ones, ones)
        if plan.side:
            self.observation_space = spaces.Box(0, 255, (plan.side, plan.side, 3), np.uint8)
        else:
            self.observation_space = spaces.Box(-np.inf, np.inf, (plan.task.numbers,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts the episode of a seed."""
        super().reset(seed=seed)
        seed = int(self.np_random.integers(2**31)) if seed is None else seed
        return self._shown(self._simulation.begin(seed)), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes one decision, (A,) cut to [-1, 1]; it stops where the task ends."""
        action, total, ended = np.clip(action, -1, 1) * self.plan.task.gear, 0.0, False
        for _ in range(self.plan.repeat):
            seen, reward, over = self._simulation.step(action)
            total += reward
            ended = over and not self.plan.goes_on
            if ended:
                break
        return self._shown(seen), total, ended, False, {}

    def _shown(self, seen: np.ndarray) -> np.ndarray:
        plan = self.plan
        return self._simulation.picture(plan.side, plan.look_at) if plan.side else seen

    def close(self) -> None:
        """Gives the simulation back."""
        self._release()
