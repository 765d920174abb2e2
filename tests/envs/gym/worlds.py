"""Small gymnasium environments whose every step can be predicted."""

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Counting(gymnasium.Env):
    """Shows the steps made, a number drawn at the start, and one drawn in this step.

    Action 1 pays 1, action 2 ends the episode, having paid 5 and reached its aim.
    """

    def __init__(self, observation: spaces.Space | None = None, action: spaces.Space | None = None):
        self.observation_space = observation or spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = action or spaces.Discrete(3)
        self.done: list[Any] = []
        self.closed = False

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self.steps, self.start, self.done = 0, self.np_random.random(), []
        return self._shown(), {}

    def step(self, action):
        self.steps += 1
        self.done.append(action)
        ends = np.ndim(action) == 0 and action == 2
        reward = 5.0 if ends else float(np.sum(action))
        return self._shown(), reward, bool(ends), False, {"is_success": bool(ends)}

    def _shown(self):
        if not isinstance(self.observation_space, spaces.Box):
            return self.steps % 3
        if self.observation_space.dtype == np.uint8:
            rows, columns, planes = self.observation_space.shape
            at = np.arange(rows)[:, None, None] + np.arange(columns)[:, None] + self.steps
            return np.broadcast_to(at, (rows, columns, planes)).astype(np.uint8)
        return np.array([self.steps, self.start, self.np_random.random()])

    def close(self):
        self.closed = True


class Forgetful(Counting):
    """Draws from a generator that the seed of reset does not touch."""

    def _shown(self):
        return np.array([self.steps, self.start, np.random.default_rng().random()])


class Sampling(gymnasium.Env):
    """Shows what its space draws, and notes what it was told to do."""

    def __init__(self, observation=None, action=None):
        # copied, since spaces draw from generators of their own
        self.observation_space = copy.deepcopy(observation or spaces.Box(-1.0, 1.0, (3,)))
        self.action_space = action or spaces.Discrete(2)
        self.done = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.done.append(action)
        return self.observation_space.sample(), 1.0, False, False, {}
