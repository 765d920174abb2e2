"""A stream of gymnasium environments: what the runner asks of a `Domain`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lib.core.errors import UserError
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs import padding
from lib.envs.api import Scene
from lib.envs.gym.batch import GymBatch, Recipe
from lib.envs.gym.scene import GymScene
from lib.envs.gym.tasks import GymTask
from lib.envs.held_out import HoldsOutEpisodes

if TYPE_CHECKING:
    from lib.core.config import EnvConfig


class GymDomain(HoldsOutEpisodes):
    """Gymnasium environments of one kind of observations and actions: a `Domain`.

    What is held out is described in `lib.envs.held_out`.

    Args:
        tasks: names tell results apart.
        recipes: one per task.
        episode_length: decisions after which an episode is cut.
        device: of observations, rewards and what is held out.
        best: the return that counts as 100 %; None if unknown.
        picture: stored observations to (..., 64, 64, 3) uint8, where they can be drawn.
        action_repeat: env steps that a decision lasts, which is up to the environments.

    Raises:
        UserError: two tasks differ in more than in how many numbers are observed or done.
    """

    grid_size = None
    exact_optimum = False

    def __init__(
        self,
        tasks: tuple[GymTask, ...],
        recipes: tuple[Recipe, ...],
        episode_length: int,
        device: torch.device | str = "cpu",
        best: float | None = None,
        picture: Callable[[Tensor], Tensor] | None = None,
        action_repeat: int = 1,
    ):
        found = [(recipe.obs_space, recipe.actions) for recipe in recipes]
        padding.check_kinds([recipe.name for recipe in recipes], found)
        self.tasks = tasks
        self.recipes = recipes
        self.episode_length, self.action_repeat = episode_length, action_repeat
        self.device = torch.device(device)
        self.obs_space: ObsSpace = recipes[0].obs_space
        self.obs_dim = int(np.prod(self.obs_space.shape))
        self.actions: ActionSpace = recipes[0].actions
        self._best = best
        self._picture = picture or self.obs_space.draw
        if self._picture is None and self.obs_space.kind == "image":
            self._picture = _as_stored

    def task_spaces(self, task_index: int) -> tuple[ObsSpace, ActionSpace]:
        """What one task shows and takes."""
        recipe = self.recipes[task_index]
        return recipe.obs_space, recipe.actions

    def make(self, task_index: int) -> GymBatch:
        """The environments of one task, n at a time."""
        return GymBatch(self.recipes[task_index], self.episode_length, self.device)

    def optimum(self, task_index: int) -> float | None:
        """What no episode can exceed; None if unknown."""
        return self._best

    def scene(self, task_index: int) -> Scene:
        """Draws what the agent sees; a pose is a stored observation, flat.

        Raises:
            UserError: observations that are no pictures.
        """
        if self._picture is None:
            name, shown = self.tasks[task_index].name, padding.KINDS[self.obs_space.kind]
            raise UserError(
                f"{name} shows the agent {shown}, which cannot be drawn; choose an observation of "
                "pixels"
            )
        return GymScene(self.obs_space, self._picture)


def check_lengths(env: "EnvConfig") -> None:
    """Raises UserError where settings make no stream of gymnasium environments."""
    if env.action_repeat != 1:
        raise UserError(
            f"action_repeat {env.action_repeat} is for the control tasks; set env.action_repeat=1 "
            f"for {env.domain}"
        )
    if env.episode_length < 1:
        raise UserError(f"episode_length {env.episode_length} is no episode; use 1 or more")


def _as_stored(stored: Tensor) -> Tensor:
    """Images that are stored as they are seen."""
    return stored
