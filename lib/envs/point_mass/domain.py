"""The table and its tasks: what the runner asks of a `Domain`."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from lib.core.errors import UserError
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.api import DataPart, Scene, World
from lib.envs.held_out import HoldsOutEpisodes
from lib.envs.point_mass.env import PointMass
from lib.envs.point_mass.tasks import KNOWN, PointTask, resolve

if TYPE_CHECKING:
    from lib.core.config import EnvConfig


class PointDomain(HoldsOutEpisodes):
    """Tasks on one table; those along a line take one number, all others two: a `Domain`.

    What is held out is described in `lib.envs.held_out`; actions of one number are padded with 0.
    """

    action_repeat = 1
    grid_size = None
    exact_optimum = False
    obs_dim = PointMass.obs_dim
    obs_space: ObsSpace = PointMass.obs_space

    def __init__(
        self, tasks: tuple[PointTask, ...], episode_length: int, device: torch.device | str = "cpu"
    ):
        self.tasks, self.episode_length = tasks, episode_length
        self.device = torch.device(device)
        self.actions = ActionSpace(max(task.axes for task in tasks), discrete=False)

    def task_spaces(self, task_index: int) -> tuple[ObsSpace, ActionSpace]:
        """Returns what a task shows and takes."""
        return self.obs_space, ActionSpace(self.tasks[task_index].axes, discrete=False)

    def data_parts(self, task_index: int) -> tuple[DataPart, ...]:
        """Returns the files that a task is learnt from."""
        task = self.tasks[task_index]
        return tuple(
            DataPart(name, self.obs_space, ActionSpace(KNOWN[name].axes, discrete=False))
            for name in task.files or (task.name,)
        )

    def make(self, task_index: int) -> PointMass:
        """Returns the points of one task, with starts and goals of training."""
        return PointMass(self.tasks[task_index], self.episode_length, False, self.device)

    def make_for_evaluation(self, task_index: int) -> PointMass:
        """Returns the same with starts and goals that training never has."""
        return PointMass(self.tasks[task_index], self.episode_length, True, self.device)

    def optimum(self, task_index: int) -> float:
        """Returns 1, of an episode that ends exactly at its goal."""
        return 1.0

    def scene(self, task_index: int) -> Scene:
        """Draws a task; a pose is an observation."""
        from lib.envs.point_mass.scene import PointScene

        return PointScene()


def build(
    env: "EnvConfig",
    entries: Iterable[str | Mapping | PointTask],
    device: torch.device | str = "cpu",
) -> PointDomain:
    """Returns the world that a configuration describes.

    Raises:
        UserError: what `resolve` says, or a decision of several steps.
    """
    if env.action_repeat != 1:
        raise UserError(
            f"env.action_repeat {env.action_repeat}: a step of the point is a decision; use 1"
        )
    return PointDomain(resolve(entries), env.episode_length, device)


WORLD = World(
    resolve=lambda env, entries: resolve(entries),
    build=build,
    ends_early=True,
    made_by="python -m lib data make point-mass",
)
