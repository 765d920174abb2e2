"""One robot arm of Meta-World, in which any number of copies take turns.

A model takes tens of megabytes and a quarter of a second to make, what an episode changes of it a
few kilobytes. All copies of a task share one environment of the library's, and each keeps what is
its own: the state of the physics, where bodies and marks stand, and the environment's attributes.

The library does not say what `reset(seed=...)` draws: nothing. Its environments draw starts and
goals from their own generator only where they are told to, which is done here. Source: metaworld
3.1.1.
"""

import importlib
import importlib.util
from importlib import metadata
from typing import Any

import numpy as np

from lib.core.errors import UserError
from lib.envs.metaworld.tasks import NUMBERS, VERSION

PACKAGE, NEEDED = "metaworld", "3.1.1"
INSTALL = "pip install -e '.[metaworld]'"
MOVED = ("body_pos", "site_pos")  # of the model, which the library's tasks change at a start
MANY = 2**31  # between the seeds of an episode's further starts; plain seeds are below it
FIRST = 20  # starts of an episode that may be solved already before the task is refused


def check_installed() -> None:
    """Raises UserError where Meta-World is missing, or is another version than tasks are of."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError(f"{PACKAGE} is not installed, and its tasks need it: {INSTALL}")
    if (found := metadata.version(PACKAGE)) != NEEDED:
        raise UserError(
            f"{PACKAGE} {found} is installed, and tasks here are those of {NEEDED}: {INSTALL}"
        )


class Copy:
    """What is one copy's own while another one is simulated."""

    def __init__(self, attributes: dict[str, Any], moved: dict[str, np.ndarray]):
        self.attributes, self.moved = attributes, moved


class Simulation:
    """The environment of a task, with goals that are seen and drawn anew at every start.

    Args:
        task: one of `tasks.NAMES`.
        reward: "v2", the benchmark's reward, or "v1", that of its first version.

    Raises:
        UserError: Meta-World is missing or another version.
    """

    def __init__(self, task: str, reward: str):
        check_installed()
        table = importlib.import_module(f"{PACKAGE}.env_dict").ALL_V3_ENVIRONMENTS
        self.env: Any = table[task + VERSION](reward_function_version=reward)
        self.env._set_task_called = True
        self.env._freeze_rand_vec, self.env.seeded_rand_vec = False, True
        self.env._partially_observable = False
        self.env.__dict__.pop("sawyer_observation_space", None)  # it was made without the goal
        self._fresh = Copy(dict(self.env.__dict__), self._model())
        self._mujoco: Any = importlib.import_module("mujoco")
        self._beside = self._mujoco.MjData(self.env.model)
        self._inside: Copy | None = None

    def _model(self) -> dict[str, np.ndarray]:
        return {name: getattr(self.env.model, name).copy() for name in MOVED}

    def copy(self) -> Copy:
        """Returns a copy that has not begun an episode."""
        data = self._mujoco.MjData(self.env.model)
        return Copy(self._fresh.attributes | {"data": data}, self._fresh.moved)

    def _enter(self, copy: Copy) -> None:
        """Makes the environment a copy, and keeps what the last one was."""
        if self._inside is copy:
            return
        if self._inside is not None:
            self._inside.attributes, self._inside.moved = dict(self.env.__dict__), self._model()
        self.env.__dict__.clear()
        self.env.__dict__.update(copy.attributes)
        for name, value in copy.moved.items():
            getattr(self.env.model, name)[:] = value
        self._inside = copy

    def begin(self, copy: Copy, seed: int) -> np.ndarray:
        """Starts the episode of a seed, (39,) float32; a start that is solved is drawn again.

        Raises:
            UserError: starts of this task are solved again and again.
        """
        self._enter(copy)
        for again in range(FIRST):
            self.env.seed(seed + again * MANY)
            self.env._did_see_sim_exception = False
            seen = self.env.reset()[0]
            if not self._solved(seen):
                return seen.astype(np.float32)
        raise UserError(f"{FIRST} starts of {self.env.task_name} were solved already; take another")

    def _solved(self, seen: np.ndarray) -> bool:
        """Says whether a start counts as a success, and leaves it as it is.

        A start moves bodies whose places in the world are computed with the next step only, so that
        they are computed beside it first.
        """
        env, kept, mujoco = self.env, dict(self.env.__dict__), self._mujoco
        whole = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(env.model, whole))
        mujoco.mj_getState(env.model, env.data, state, whole)
        mujoco.mj_setState(env.model, self._beside, state, whole)
        mujoco.mj_forward(env.model, self._beside)
        env.data = self._beside
        info = env.evaluate_state(seen, np.zeros(env.action_space.shape, np.float32))[1]
        env.__dict__.update(kept)
        return bool(info["success"])

    def step(self, copy: Copy, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Takes one step, (4,) in [-1, 1], to (39,) float32, the reward and whether it is solved.

        What lies outside is cut.
        """
        self._enter(copy)
        seen, reward, _, _, info = self.env.step(np.clip(action, -1, 1))
        assert seen.shape == (NUMBERS,)
        return seen.astype(np.float32), float(reward), bool(info["success"])
