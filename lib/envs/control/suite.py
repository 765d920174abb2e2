"""The control tasks for other people's code: as dm_control environments, and in gymnasium."""

import importlib
import importlib.util
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box

from lib.core.errors import UserError, unknown
from lib.envs import gl
from lib.envs.control.batch import ControlBatch
from lib.envs.control.tasks import ALIASES, TASKS
from lib.envs.needs import MISSING

if TYPE_CHECKING:
    from dm_control.rl import control

    from lib.envs.api import Scene

ENV_STEPS = 1000  # of an episode, as in the suite
NAMESPACE = "Workbook"


def load(
    task_name: str, seed: int | None = None, time_limit: float = 1000.0
) -> "control.Environment":
    """A task as the suite would offer it: a dm_env environment with dm_control's physics.

    Args:
        task_name: full name, such as "cheetah-jump"; underscores will do.
        seed: of the starts; None draws one.
        time_limit: [s], far beyond the suite's 10 and 25, so that nothing resets by itself.

    Raises:
        UserError: an unknown task, or dm_control is not installed.
    """
    task = TASKS[_known(task_name)]
    return _reference().environment(task, seed, time_limit)


def register_gymnasium() -> tuple[str, ...]:
    """Make every task known to gymnasium; may be repeated.

    Returns:
        The ids, such as "Workbook/CheetahJump-v0". Episodes are cut after 1000 env steps.
    """
    ids = []
    for name in TASKS:
        title = "".join(word.capitalize() for word in name.split("-"))
        ids.append(f"{NAMESPACE}/{title}-v0")
        if ids[-1] not in gymnasium.registry:
            gymnasium.register(
                ids[-1],
                entry_point=f"{__name__}:ControlEnv",
                max_episode_steps=ENV_STEPS,
                kwargs={"task_name": name},
            )
    return tuple(ids)


class ControlEnv(gymnasium.Env):
    """One copy of a task for gymnasium, by the batched physics that learners here train on.

    | | |
    |---|---|
    | Actions | 6 torques in [-1, 1] |
    | Observations | cheetah 17, walker 24 numbers; see `bodies.Body.observe` |
    | Reward | from 0 to 1 per env step (cheetah 0.01 s, walker 0.025 s) |
    | Start | as in the suite: random joints, the cheetah let fall |
    | End | never, unless the physics breaks; cut after 1000 env steps by gymnasium |

    Args:
        task_name: full name, such as "cheetah-jump".
        render_mode: "rgb_array" or None.

    Raises:
        UserError: an unknown task, or mujoco or dm_control is not installed.
        ValueError: another render mode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, task_name: str, render_mode: str | None = None):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode {render_mode!r}; known: rgb_array, None")
        task = TASKS[_known(task_name)]
        self.render_mode = render_mode
        self._batch = ControlBatch(task, action_repeat=1, episode_length=ENV_STEPS, threads=0)
        fps = round(1 / self._batch.body.env_step_seconds)
        self.metadata = {**self.metadata, "render_fps": fps}
        self.action_space = Box(-1.0, 1.0, (self._batch.actions.size,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, (self._batch.obs_dim,), np.float32)
        self._scene: Scene | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; no options are known."""
        super().reset(seed=seed, options=options)
        body = self._batch.body
        obs = self._batch.start(body.draw(self.np_random.random((1, body.draws))))
        return obs[0].numpy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One env step; terminated only where the physics broke."""
        obs, reward = self._batch.step(torch.as_tensor(np.asarray(action))[None])
        return obs[0].numpy(), float(reward[0]), bool(self._batch.broken[0]), False, {}

    def render(self) -> np.ndarray | None:
        """(height, width, 3) uint8 if the render mode is rgb_array."""
        if self.render_mode is None:
            return None
        if self._scene is None:
            from lib.envs.control.scene import Scene

            self._scene = Scene(self._batch.body.domain)
        return self._scene.frame(self._batch.pose()[0])

    def close(self) -> None:
        """Gives the renderer back."""
        if self._scene is not None:
            self._scene.close()
            self._scene = None


def _known(task_name: str) -> str:
    name = task_name.replace("_", "-")
    name = ALIASES.get(name, name)
    if name not in TASKS:
        raise unknown("control task", task_name, TASKS)
    return name


def _reference() -> ModuleType:
    """The module that imports dm_control, see `lib.envs.gl.importing`."""
    for name in ("mujoco", "dm_control"):
        if importlib.util.find_spec(name) is None:
            raise UserError(MISSING.format(name))
    with gl.importing():
        return importlib.import_module("lib.envs.control.reference")
