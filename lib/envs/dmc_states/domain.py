"""The tasks of dm_control's suite as the numbers that it names: what the runner asks of a `Domain`.

An observation is what the suite shows, part after part in its order, of a size of its own in each
task; `ObsSpace.parts` says which parts those are. The same tasks as pictures are world `dmc`.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs import gl
from lib.envs.api import DataPart, World
from lib.envs.gym.batch import Recipe
from lib.envs.gym.disjoint import DisjointBatch
from lib.envs.gym.domain import GymDomain
from lib.envs.lengths import decisions
from lib.envs.pixels import tasks
from lib.envs.pixels.suite_env import SuiteEnv, check_installed
from lib.envs.pixels.tasks import Entry, SuiteTask

if TYPE_CHECKING:
    from lib.core.config import EnvConfig


class Body(gymnasium.Env):
    """One copy of a task.

    Args:
        task: from `resolve`.
        repeat: env steps that a decision lasts.
    """

    def __init__(self, task: SuiteTask, repeat: int):
        self.suite = SuiteEnv(task, repeat)
        ones = np.ones(task.actions, np.float32)
        self.action_space = spaces.Box(-ones, ones)
        count = sum(self.suite.shows.values())
        self.observation_space = spaces.Box(-np.inf, np.inf, (count,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts the episode of a seed."""
        super().reset(seed=seed)
        self.suite.begin(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes one decision; an episode whose physics breaks is cut there."""
        done = self.suite.step(action)
        return self._seen(), done.reward, done.terminal, done.broken, {}

    def _seen(self) -> np.ndarray:
        parts = [np.ravel(part) for part in self.suite.seen.values()]
        return np.concatenate(parts).astype(np.float32)


class BodyBatch(DisjointBatch):
    """Several copies of a task in lock-step."""

    @property
    def bodies(self) -> list[SuiteEnv]:
        """Returns the simulations of all copies, for controllers that know the body."""
        return [env.suite for env in self._envs]


class StatesDomain(GymDomain):
    """Tasks of the suite, which may differ in what they show and take.

    Args:
        stream: from `resolve`.
        episode_length: decisions.
        repeat: env steps that a decision lasts.
        device: of observations, rewards and what is held out.

    Raises:
        UserError: dm_control is not installed.
    """

    def __init__(
        self,
        stream: tuple[SuiteTask, ...],
        episode_length: int,
        repeat: int,
        device: torch.device | str = "cpu",
    ):
        check_installed()
        with gl.importing():
            recipes = tuple(_recipe(task, repeat) for task in stream)
        super().__init__(stream, recipes, episode_length, device, action_repeat=repeat)
        # What is held out has room for the largest of all tasks.
        self.obs_dim = max(recipe.obs_space.shape[0] for recipe in recipes)
        self.obs_space = ObsSpace("vector", (self.obs_dim,))
        self.actions = ActionSpace(max(task.actions for task in stream), discrete=False)

    def make(self, task_index: int) -> BodyBatch:
        """Returns the bodies of one task, with starts of training."""
        return BodyBatch(self.recipes[task_index], self.episode_length, False, self.device)

    def make_for_evaluation(self, task_index: int) -> BodyBatch:
        """Returns the same with starts that training never has."""
        return BodyBatch(self.recipes[task_index], self.episode_length, True, self.device)

    def data_parts(self, task_index: int) -> tuple[DataPart, ...]:
        """Returns the file that a task is learnt from."""
        return (DataPart(self.tasks[task_index].name, *self.task_spaces(task_index)),)


def _recipe(task: SuiteTask, repeat: int) -> Recipe:
    shows = SuiteEnv(task, 1).shows
    return Recipe(
        name=task.name,
        make=partial(Body, task, repeat),
        obs_space=ObsSpace("vector", (sum(shows.values()),), parts=tuple(shows.items())),
        actions=ActionSpace(task.actions, discrete=False),
        read=_as_it_is,
        act=_as_it_is,
        begin=lambda made, seed: made.reset(seed=seed),
        judge=lambda reward, ended, info: (ended, False),
    )


def _as_it_is(numbers: np.ndarray) -> np.ndarray:
    return numbers


def resolve(env: "EnvConfig", entries: Iterable[Entry]) -> tuple[SuiteTask, ...]:
    """Returns task records in order; raises UserError as `tasks.resolve` and `decisions` do."""
    decisions(env.episode_length, env.action_repeat)
    return tasks.resolve(entries)


def build(
    env: "EnvConfig", entries: Iterable[Entry], device: torch.device | str = "cpu"
) -> StatesDomain:
    """Returns the tasks that a configuration describes.

    Raises:
        UserError: what `resolve` says, or dm_control is not installed.
    """
    stream = resolve(env, entries)
    repeat = env.action_repeat
    return StatesDomain(stream, decisions(env.episode_length, repeat), repeat, device)


WORLD = World(
    resolve=resolve,
    build=build,
    ends_early=True,
    repeats=True,
    made_by="python -m lib data make dmc-states",
)
