"""A stream of dm_control's tasks seen as pictures: what the runner asks of a `Domain`."""

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lib.core.errors import UserError
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.api import Scene, World
from lib.envs.gym.scene import GymScene
from lib.envs.held_out import HoldsOutEpisodes
from lib.envs.lengths import decisions
from lib.envs.pixels import backgrounds, clips, tasks
from lib.envs.pixels.batch import PixelBatch
from lib.envs.pixels.copies import Plan
from lib.envs.pixels.processes import Pool
from lib.envs.pixels.splits import SPLITS
from lib.envs.pixels.suite_env import check_installed
from lib.envs.pixels.tasks import Entry, SuiteTask

if TYPE_CHECKING:
    from lib.core.config import EnvConfig


class PixelDomain(HoldsOutEpisodes):
    """Tasks of the suite: a `Domain`. Actions of bodies that differ are padded around it.

    Training and evaluation show different clips of a moving background. What is held out is
    described in `lib.envs.held_out`.

    Args:
        env: the settings of `dmc`.
        tasks: from `tasks.resolve`.
        device: of observations, rewards and what is held out.

    Raises:
        UserError: settings that make no world, or dm_control is not installed.
    """

    grid_size = None
    exact_optimum = False

    def __init__(
        self, env: "EnvConfig", tasks: tuple[SuiteTask, ...], device: torch.device | str = "cpu"
    ):
        check_installed()
        self.tasks, self.env = tasks, env
        for background in self._backgrounds():
            check_background(background)
        self.action_repeat = env.action_repeat
        self.episode_length = decisions(env.episode_length, env.action_repeat)
        self.device = torch.device(device)
        self.obs_space = ObsSpace("image", (env.image_size, env.image_size, 3), torch.uint8)
        self.obs_dim = int(np.prod(self.obs_space.shape))
        self.actions = ActionSpace(tasks[0].actions, discrete=False)
        self._pool, self._told = Pool(), False

    def task_spaces(self, task_index: int) -> tuple[ObsSpace, ActionSpace]:
        """What one task shows and takes."""
        return self.obs_space, ActionSpace(self.tasks[task_index].actions, discrete=False)

    def make(self, task_index: int) -> PixelBatch:
        """The environments of one task, n at a time, before the background's training clips."""
        return self._make(task_index, "train")

    def make_for_evaluation(self, task_index: int) -> PixelBatch:
        """The same before clips that training never shows."""
        return self._make(task_index, "test")

    def _make(self, task_index: int, split: str) -> PixelBatch:
        self._look_at_clips()
        env, task = self.env, self.tasks[task_index]
        background = task.background or env.background
        plan = Plan(
            task=task,
            repeat=env.action_repeat,
            size=env.image_size,
            camera=env.camera,
            quality=env.render_quality,
            background=background,
            grey=env.background_grey,
            split=split if background != backgrounds.PLAIN else SPLITS[0],
        )
        return PixelBatch(plan, self.episode_length, self.device, env.workers, self._pool)

    def _look_at_clips(self) -> None:
        """Decodes the clips of both splits, once, and says what a user may not expect of them."""
        if self._told:
            return
        self._told = True
        env = self.env
        for background, split in itertools.product(self._backgrounds(), SPLITS):
            source = backgrounds.source(background, split, env.image_size, env.background_grey)
            if source is not None:
                for note in backgrounds.notes(source, self.episode_length + 1):
                    print(f"backgrounds: {note}", file=sys.stderr)

    def _backgrounds(self) -> list[str]:
        """Every background of the stream, once, in the order in which they come."""
        return list(dict.fromkeys(task.background or self.env.background for task in self.tasks))

    def optimum(self, task_index: int) -> float | None:
        """The most that an episode can pay, 1 per env step; None where a task has no bound."""
        bounded = self.tasks[task_index].bounded
        return float(self.episode_length * self.action_repeat) if bounded else None

    def scene(self, task_index: int) -> Scene:
        """Draws what the agent sees; a pose is a picture, flat."""
        return GymScene(self.obs_space, lambda stored: stored)


def check_background(text: str) -> None:
    """Raises UserError unless there is such a background, with clips for both splits."""
    backgrounds.check(text)
    kind, _, folder = text.partition(":")
    if kind == "folder":
        for split in SPLITS:
            clips.files(Path(folder), split)


def resolve(env: "EnvConfig", entries: Iterable[Entry]) -> tuple[SuiteTask, ...]:
    """Task records in the order given.

    Raises:
        UserError: what `tasks.resolve` says, another background, or an episode that would end
            within a decision.
    """
    backgrounds.check(env.background)
    decisions(env.episode_length, env.action_repeat)
    return tasks.resolve(entries)


def build(
    env: "EnvConfig",
    entries: Iterable[Entry],
    device: torch.device | str = "cpu",
) -> PixelDomain:
    """The tasks and their looks that a configuration describes.

    Raises:
        UserError: what `resolve` and `PixelDomain` say, or another observation than pixels.
    """
    if env.observation not in WORLD.observations:
        raise UserError(
            f"env.observation '{env.observation}': dmc is seen as 'pixels'; set it to that (the "
            "worlds cheetah and walker show states)"
        )
    return PixelDomain(env, resolve(env, entries), device)


WORLD = World(
    resolve=resolve,
    build=build,
    observations=("pixels",),
    ends_early=True,
    repeats=True,
    sized=True,
    pads=True,
)
