"""A stream of torque pendulums: what the runner asks of a `Domain`.

A toy of a few dozen lines on which transfer between tasks with other dynamics, goals and numbers
of actions can be studied within minutes on one CPU core.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lib.core.errors import UserError
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.api import World
from lib.envs.held_out import HoldsOutEpisodes
from lib.envs.lengths import decisions
from lib.envs.pendulum import batch, tasks
from lib.envs.pendulum.batch import PendulumBatch
from lib.envs.pendulum.drawing import PendulumScene
from lib.envs.pendulum.tasks import Entry, PendulumTask

if TYPE_CHECKING:
    from lib.core.config import EnvConfig


class PendulumDomain(HoldsOutEpisodes):
    """Torque pendulums, seen as numbers or as pictures: a `Domain`.

    What is held out is described in `lib.envs.held_out`.

    Args:
        env: the settings of the world.
        tasks: from `tasks.resolve`.
        device: of every tensor.

    Raises:
        UserError: an episode that would end within a decision.
    """

    grid_size = None
    exact_optimum = False

    def __init__(
        self, env: "EnvConfig", tasks: tuple[PendulumTask, ...], device: torch.device | str = "cpu"
    ):
        self.tasks = tasks
        self.action_repeat = env.action_repeat
        self.episode_length = decisions(env.episode_length, env.action_repeat)
        self.device = torch.device(device)
        self._side = env.image_size if env.observation == "pixels" else 0
        first = self.make(0)
        self.obs_space, self.obs_dim, self.actions = first.obs_space, first.obs_dim, first.actions

    def task_spaces(self, task_index: int) -> tuple[ObsSpace, ActionSpace]:
        """What one task shows and takes."""
        made = self.make(task_index)
        return made.obs_space, made.actions

    def make(self, task_index: int) -> PendulumBatch:
        """The pendulums of one task, n at a time."""
        task = self.tasks[task_index]
        return PendulumBatch(task, self.episode_length, self.action_repeat, self.device, self._side)

    def optimum(self, task_index: int) -> float:
        """What an episode would pay that rests at its goal throughout without a torque."""
        return batch.SCALE * self.episode_length * self.action_repeat

    def scene(self, task_index: int) -> PendulumScene:
        """Draws a task."""
        return PendulumScene(self.tasks[task_index])

    def pose_of(self, obs: Tensor, first: np.ndarray) -> np.ndarray:
        """Angles (T + 1, 1) that look like observations (T + 1, 3), the first one as given.

        Raises:
            UserError: observations are pictures, from which no angle is read.
        """
        if self._side:
            raise UserError("a pendulum's angle is not read from pictures; use observation 'state'")
        pose = torch.atan2(obs[:, 1:2], obs[:, 0:1]).cpu().numpy()
        pose[0] = first
        return pose


def resolve(env: "EnvConfig", entries: Iterable[Entry]) -> tuple[PendulumTask, ...]:
    """Task records in the order given; raises UserError as `tasks.resolve` and `decisions` do."""
    decisions(env.episode_length, env.action_repeat)
    return tasks.resolve(entries)


def build(
    env: "EnvConfig", entries: Iterable[Entry], device: torch.device | str = "cpu"
) -> PendulumDomain:
    """The pendulums that a configuration describes; raises UserError as they do."""
    return PendulumDomain(env, resolve(env, entries), device)


WORLD = World(
    resolve=resolve,
    build=build,
    observations=("state", "pixels"),
    ends_early=True,
    repeats=True,
    sized=True,
    pads=True,
)
