"""Copies of a robot arm in lock-step, which know after every step whether the task is solved."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.gym.batch import Recipe
from lib.envs.gym.disjoint import DisjointBatch
from lib.envs.metaworld.simulation import Simulation
from lib.envs.metaworld.tasks import ACTIONS, NUMBERS, MetaWorldTask

LONGEST = 500  # steps after which the library wants a new episode


class Shared:
    """Simulations by task, each made when it is first asked for."""

    def __init__(self, reward: str):
        self.reward = reward
        self._made: dict[str, Simulation] = {}

    def of(self, task: str) -> Simulation:
        """Returns the simulation of a task."""
        if task not in self._made:
            self._made[task] = Simulation(task, self.reward)
        return self._made[task]


class Arm(gymnasium.Env):
    """One copy of a task.

    Args:
        task: from `tasks.resolve`.
        shared: where its simulation comes from.
    """

    def __init__(self, task: MetaWorldTask, shared: Shared):
        self._simulation = shared.of(task.task)
        self._copy = self._simulation.copy()
        ones = np.ones(ACTIONS, np.float32)
        self.action_space = spaces.Box(-ones, ones)
        self.observation_space = spaces.Box(-np.inf, np.inf, (NUMBERS,), np.float32)
        self.solved = False  # by the last step

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts the episode of a seed."""
        super().reset(seed=seed)
        seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self.solved = False
        return self._simulation.begin(self._copy, seed), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes one step; only time ends an episode."""
        seen, reward, self.solved = self._simulation.step(self._copy, action)
        return seen, reward, False, False, {}


class ArmBatch(DisjointBatch):
    """Says of every step whether it is a success.

    Success is that of the step just made. Benchmarks differ in whether the last one counts (L2M) or
    any (Continual World); who plays an episode can tell both.
    """

    @property
    def success(self) -> Tensor:
        """(n,) bool on the host: the step just made is a success."""
        return torch.tensor([env.solved for env in self._envs], dtype=torch.bool)


def recipe(task: MetaWorldTask, shared: Shared) -> Recipe:
    """Returns how copies of a task are made, begun and read."""
    return Recipe(
        name=task.name,
        make=partial(Arm, task, shared),
        obs_space=ObsSpace("vector", (NUMBERS,)),
        actions=ActionSpace(ACTIONS, discrete=False),
        read=_as_it_is,
        act=_as_it_is,
        begin=lambda made, seed: made.reset(seed=seed),
        judge=lambda reward, ended, info: (False, False),
    )


def _as_it_is(numbers: np.ndarray) -> np.ndarray:
    return numbers
