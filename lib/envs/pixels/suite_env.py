"""One simulated copy of a task of dm_control's suite, without its picture.

Letters: A numbers in an action, S numbers in a state of the physics.
"""

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lib.core.errors import UserError
from lib.envs.needs import MISSING
from lib.envs.pixels.tasks import SuiteTask

if TYPE_CHECKING:
    import mujoco

UNBOUNDED = 1e9  # the suite writes 1e10 for no bound


class Outcome(NamedTuple):
    """What one decision led to."""

    reward: float  # summed over the env steps of the decision
    terminal: bool  # the task ended: nothing can follow
    broken: bool  # the physics left all bounds; the reward before that counts


class SuiteEnv:
    """A task, stepped as dm_control's own environment steps it, with actions in [-1, 1].

    An episode follows from its seed and the actions, as in an environment that `suite.load` made
    with that seed. Episodes last as long as the caller wants: the suite's time limit is lifted.

    Args:
        task: from `tasks.resolve`.
        repeat: env steps that a decision lasts.

    Raises:
        UserError: dm_control is not installed.
    """

    def __init__(self, task: SuiteTask, repeat: int):
        check_installed()
        from dm_control import suite

        self.task, self.repeat = task, repeat
        limit = {} if task.domain == "lqr" else {"time_limit": float("inf")}  # which has none
        self._env = suite.load(task.domain, task.task, task_kwargs={"random": 0, **limit})
        self._draw_nothing()
        self.seen: Mapping[str, np.ndarray] = {}  # what the suite shows of the state, by name
        spec = self._env.action_spec()
        bounded = (spec.minimum > -UNBOUNDED) & (spec.maximum < UNBOUNDED)
        low, high = np.where(bounded, spec.minimum, -1.0), np.where(bounded, spec.maximum, 1.0)
        # Exact where bounds are -1 and 1, so that actions reach such tasks as they are.
        self._middle, self._half = (high + low) / 2, (high - low) / 2

    def _draw_nothing(self) -> None:
        """Keeps the suite from opening an OpenGL of its own, as quadruped escape would."""
        kind = type(self._env.physics)
        self._env.physics.__class__ = type(kind.__name__, (kind,), {"contexts": None})

    @property
    def shows(self) -> dict[str, int]:
        """Returns the names of what the suite shows, to how many numbers each has."""
        spec = self._env.observation_spec()
        return {name: int(np.prod(part.shape)) for name, part in spec.items()}

    @property
    def physics(self) -> Any:
        """Returns the suite's physics, for controllers that know the body."""
        return self._env.physics

    @property
    def model(self) -> "mujoco.MjModel":
        """The model, which tasks change when an episode begins."""
        return self._env.physics.model.ptr

    @property
    def data(self) -> "mujoco.MjData":
        """The state that is drawn."""
        return self._env.physics.data.ptr

    def begin(self, seed: int) -> None:
        """Starts the episode of a seed."""
        self._env.task.random.seed(seed)
        self.seen = self._env.reset().observation

    def step(self, action: np.ndarray) -> Outcome:
        """Takes one decision, (A,) in [-1, 1]; what lies outside is cut."""
        from dm_control.rl.control import PhysicsError

        scaled = self._middle + self._half * np.clip(action.astype(np.float64), -1, 1)
        total = 0.0
        for _ in range(self.repeat):
            try:
                after = self._env.step(scaled)
            except PhysicsError:
                return Outcome(total, terminal=False, broken=True)
            self.seen = after.observation
            total += after.reward if after.reward >= self.task.threshold else 0.0
            if after.last():
                return Outcome(total, terminal=after.discount == 0, broken=False)
        return Outcome(total, terminal=False, broken=False)

    def state(self) -> np.ndarray:
        """Returns all that the physics goes on from, (S,) float64."""
        import mujoco

        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(self.model, kind))
        mujoco.mj_getState(self.model, self.data, state, kind)
        return state

    def restore(self, seed: int, state: np.ndarray) -> None:
        """Goes on from a state of the episode of a seed.

        The beginning is repeated for what the task itself drew: targets, sizes, terrain.

        Raises:
            ValueError: a state of another task.
        """
        import mujoco

        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        if state.shape != (mujoco.mj_stateSize(self.model, kind),):
            raise ValueError(f"state {state.shape} is of another task than {self.task.name}")
        self.begin(seed)
        mujoco.mj_setState(self.model, self.data, state, kind)
        mujoco.mj_step1(self.model, self.data)  # what dm_control leaves behind after a step


def check_installed() -> None:
    """Raises UserError where the suite cannot be imported; imports nothing."""
    for name in ("mujoco", "dm_control"):
        if importlib.util.find_spec(name) is None:
            raise UserError(MISSING.format(name))
