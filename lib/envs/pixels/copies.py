"""Copies of one task in one process: simulated, drawn by one renderer, put before a background."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lib.envs.pixels import backgrounds
from lib.envs.pixels.renderer import Renderer
from lib.envs.pixels.suite_env import Outcome, SuiteEnv
from lib.envs.pixels.tasks import SuiteTask


@dataclass(frozen=True)
class Plan:
    """All that the copies of a task have in common; small enough to be sent to a process."""

    task: SuiteTask
    repeat: int = 2  # env steps that a decision lasts
    size: int = 64  # height and width of pictures [pixels]
    camera: int = -1  # -1: the task's own
    quality: str = "full"
    background: str = backgrounds.PLAIN
    grey: bool = False
    split: str = "train"


class Seen(NamedTuple):
    """What a copy shows after a call, and what led to it."""

    picture: np.ndarray  # (size, size, 3) uint8
    outcome: Outcome | None = None  # of a decision


class Copies:
    """Copies by number; each is made when it is first called.

    Args:
        plan: what they are copies of.
        gl_name: the OpenGL to draw with, see `gl.open_renderer`.
        first: number of a copy that will be asked for.

    Raises:
        UserError: nothing can draw here, dm_control is missing, or the background has no clips.
    """

    def __init__(self, plan: Plan, gl_name: str = "", first: int = 0):
        self.plan = plan
        self._envs: dict[int, SuiteEnv] = {}
        self._source = backgrounds.source(plan.background, plan.split, plan.size, plan.grey)
        self._behind: dict[int, backgrounds.BackgroundSource | None] = {}
        camera = plan.task.camera if plan.camera < 0 else plan.camera
        model = self._env(first).model
        self._renderer = Renderer(model, plan.size, camera, plan.quality, gl_name)

    def call(self, name: str, copy: int, *arguments: Any) -> Any:
        """Calls one of the methods below for a copy, as a message from another process asks."""
        methods = {
            "begin": self.begin,
            "step": self.step,
            "state": self.state,
            "restore": self.restore,
        }
        return methods[name](copy, *arguments)

    def begin(self, copy: int, seed: int) -> Seen:
        """Starts the episode of a seed, which decides the background as well."""
        self._env(copy).begin(seed)
        return self._begin_background(copy, seed, frames=1)

    def step(self, copy: int, action: np.ndarray) -> Seen:
        """Takes one decision and draws once."""
        outcome = self._env(copy).step(action)
        return Seen(self._draw(copy), outcome)

    def state(self, copy: int) -> np.ndarray:
        """Returns what the physics goes on from, (S,) float64."""
        return self._env(copy).state()

    def restore(self, copy: int, seed: int, state: np.ndarray, decisions: int) -> Seen:
        """Goes on from a state of the episode of a seed, after so many decisions."""
        self._env(copy).restore(seed, state)
        return self._begin_background(copy, seed, frames=decisions + 1)

    def _env(self, copy: int) -> SuiteEnv:
        if copy not in self._envs:
            self._envs[copy] = SuiteEnv(self.plan.task, self.plan.repeat)
            self._behind[copy] = None if self._source is None else self._source.another()
        return self._envs[copy]

    def _begin_background(self, copy: int, seed: int, frames: int) -> Seen:
        behind = self._behind[copy]
        if behind is not None:
            behind.reset(np.random.default_rng(seed))
            for _ in range(frames - 1):
                behind.next()
        return Seen(self._draw(copy))

    def _draw(self, copy: int) -> np.ndarray:
        env, behind = self._envs[copy], self._behind[copy]
        picture = self._renderer.draw(env.model, env.data)
        return picture if behind is None else backgrounds.composite(picture, behind.next())

    def close(self) -> None:
        """Gives the renderer back."""
        self._renderer.close()
        self._envs.clear()
