"""A stream of Meta-World's tasks: what the runner asks of a `Domain`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from lib.core.errors import UserError
from lib.envs.api import DataPart, World
from lib.envs.gym.domain import GymDomain
from lib.envs.metaworld import env as envs
from lib.envs.metaworld import tasks
from lib.envs.metaworld.env import ArmBatch, Shared
from lib.envs.metaworld.simulation import check_installed
from lib.envs.metaworld.tasks import Entry, MetaWorldTask

if TYPE_CHECKING:
    from lib.core.config import EnvConfig


class ArmDomain(GymDomain):
    """Tasks of one robot arm.

    Args:
        tasks: from `tasks.resolve`.
        reward: version of the rewards, see `Simulation`.
        episode_length: steps.
        device: of observations, rewards and what is held out.
    """

    def __init__(
        self,
        tasks: tuple[MetaWorldTask, ...],
        reward: str,
        episode_length: int,
        device: torch.device | str = "cpu",
    ):
        shared = Shared(reward)
        recipes = tuple(envs.recipe(task, shared) for task in tasks)
        super().__init__(tasks, recipes, episode_length, device)

    def make(self, task_index: int) -> ArmBatch:
        """Returns the arms of one task, with starts and goals of training."""
        return self._made(task_index, False)

    def make_for_evaluation(self, task_index: int) -> ArmBatch:
        """Returns the same with starts and goals that training never has."""
        return self._made(task_index, True)

    def _made(self, task_index: int, evaluates: bool) -> ArmBatch:
        return ArmBatch(self.recipes[task_index], self.episode_length, evaluates, self.device)

    def data_parts(self, task_index: int) -> tuple[DataPart, ...]:
        """Returns the file that a task is learnt from, which a task has once, however called."""
        task, recipe = self.tasks[task_index], self.recipes[task_index]
        return (DataPart(task.task, recipe.obs_space, recipe.actions),)


def resolve(env: "EnvConfig", entries: Iterable[Entry]) -> tuple[MetaWorldTask, ...]:
    """Returns task records in the order given.

    Raises:
        UserError: what `tasks.resolve` says, a decision of several steps, or episodes that are
            longer than the library's.
    """
    if env.action_repeat != 1:
        raise UserError(
            f"env.action_repeat {env.action_repeat}: a step of the robot arm is a decision; use 1"
        )
    if env.episode_length > envs.LONGEST:
        raise UserError(
            f"env.episode_length {env.episode_length} is more than the {envs.LONGEST} steps of "
            "Meta-World's longest episode; the papers use 200"
        )
    return tasks.resolve(entries)


def build(
    env: "EnvConfig", entries: Iterable[Entry], device: torch.device | str = "cpu"
) -> ArmDomain:
    """Returns the world that a configuration describes.

    Raises:
        UserError: what `resolve` says, or Meta-World is missing.
    """
    stream = resolve(env, entries)
    check_installed()
    return ArmDomain(stream, env.reward_version, env.episode_length, device)


WORLD = World(
    resolve=resolve,
    build=build,
    ends_early=True,
    made_by="python -m lib data make metaworld",
)
