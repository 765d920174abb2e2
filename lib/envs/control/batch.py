"""A control task, many copies in lock-step: physics on threads, the rest in array operations.

Letters: n copies, A actions, L numbers in an observation, Q joints, R env steps of one decision,
P physics steps of one decision.
"""

import copy
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lib.core.spaces import ActionSpace
from lib.envs.control import bodies
from lib.envs.control.bodies import Body
from lib.envs.control.tasks import ControlTask

if TYPE_CHECKING:
    import mujoco

START_TIME = 1.0  # [s] clock before every decision; a copy that MuJoCo resets starts again at 0
HUGE = 1e10  # position or velocity at which MuJoCo itself gives a state up (mjMAXVAL)
CHUNK = 20  # physics steps per call while poses settle, which bounds the memory
WORTH_THREADS = 128  # physics steps per decision, all copies together, from which threads pay
MOST_THREADS = 16  # unless asked for; beyond, a decision of 64 copies is too little work to share


class ControlBatch:
    """One task, n copies: a `VectorEnv` whose actions are held for `action_repeat` env steps.

    Positions and velocities are all there is to save: `state` and `set_state`. A copy whose
    physics breaks (a number that is not finite, or a warning of MuJoCo's, which resets the copy)
    is marked in `broken`, stays where it last was well, and earns 0 until the next reset. The
    others never notice.

    Args:
        task: names the body and pays the reward, summed over the env steps of a decision.
        action_repeat: R.
        episode_length: decisions.
        device: of the tensors that are returned; the physics runs on the CPU.
        threads: 0 steps in the calling thread; left out, threads are used where they pay.
        body: to share one loaded body between tasks.
    """

    ended = None

    def __init__(
        self,
        task: ControlTask,
        action_repeat: int = 1,
        episode_length: int = 1000,
        device: torch.device | str = "cpu",
        threads: int | None = None,
        body: Body | None = None,
    ):
        self.task = task
        self.body = body or bodies.load(task.domain)
        self.action_repeat = action_repeat
        self.episode_length = episode_length
        self.device = torch.device(device)
        self.obs_dim = self.body.obs_dim
        self.actions = ActionSpace(self.body.model.nu, discrete=False)
        self.steps = action_repeat * self.body.substeps  # P
        self._joints = self.body.model.nq
        self._physics = _Physics(self.body.model, threads)
        self._state = self._rest(0)
        self._broken = np.zeros(0, dtype=bool)

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Start n episodes; the generator alone decides how. Returns (n, L) float32."""
        uniform = bodies.uniform_draws(n, self.body.draws, generator)
        return self.start(self.body.draw(uniform))

    def start(self, qpos: np.ndarray) -> Tensor:
        """Start episodes from drawn poses (n, Q), which come to rest first; returns (n, L)."""
        self._state = self._settled(qpos)
        self._broken = np.zeros(len(qpos), dtype=bool)
        return self.observe()

    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """(n, A) actions, clamped to [-1, 1], to the next (n, L) and the summed reward (n,)."""
        control = action.detach().to("cpu", torch.float64).clamp(-1, 1).numpy()
        self._broken |= ~np.isfinite(control).all(1)  # MuJoCo would warn and go on without torque
        start = self._state
        if self._broken.any():
            start = np.where(self._broken[:, None], self._rest(1), start)
            control = np.where(self._broken[:, None], 0.0, control)
        path = self._physics.advance(start, control, self.steps)
        self._broken |= ~self._sound(path[:, -1])
        if self._broken.any():
            path[self._broken] = self._state[self._broken, None]
        self._state = path[:, -1].copy()
        self._state[:, 0] = START_TIME

        shown = path[:, self.body.substeps - 1 :: self.body.substeps]  # (n, R, 1 + 2Q)
        motion = self.body.planar.motion(*self._split(shown))
        reward = self.task.reward(motion).sum(-1)  # (n,)
        reward[self._broken] = 0.0
        return self._tensor(self.body.observe(motion.last())), self._tensor(reward)

    def observe(self) -> Tensor:
        """(n, L) float32 of the present state."""
        return self._tensor(self.body.observe(self.body.planar.motion(*self.state())))

    @property
    def broken(self) -> Tensor:
        """(n,) bool, copies that stopped moving because their physics broke."""
        return torch.from_numpy(self._broken.copy()).to(self.device)

    def pose(self) -> np.ndarray:
        """(n, Q) joint positions."""
        return self.state()[0]

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """(n, Q) positions and (n, Q) velocities, float64: the whole state."""
        qpos, qvel = self._split(self._state)
        return qpos.copy(), qvel.copy()

    def set_state(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Continue from states (n, Q) and (n, Q); a copy given an unusable one is broken."""
        state = self._rest(len(qpos))
        state[:, 1:] = np.concatenate((qpos, qvel), axis=1)
        sound = self._sound(state, START_TIME)
        kept = self._state if len(self._state) == len(state) else self._rest(len(state))
        self._state = np.where(sound[:, None], state, kept)
        self._broken = ~sound

    def _settled(self, qpos: np.ndarray) -> np.ndarray:
        """(n, Q) drawn poses to states (n, 1 + 2Q), which the suite lets fall for a while."""
        state = self._rest(len(qpos))
        state[:, 1 : 1 + self._joints] = qpos
        if not self.body.settling:
            return state
        # The suite draws a pose after dm_control has prepared the next step, so the first step
        # moves that pose by what would have happened to the model's own.
        idle = np.zeros((len(qpos), self.actions.size))
        prepared = self._physics.advance(self._rest(1), idle[:1], 1)[:, 0]
        velocity = self._split(prepared)[1]  # (1, Q)
        positions, velocities = self._split(state)
        positions += self.body.model.opt.timestep * velocity
        velocities[:] = velocity
        for done in range(1, self.body.settling, CHUNK):
            steps = min(CHUNK, self.body.settling - done)
            state = self._physics.advance(state, idle, steps)[:, -1].copy()
            state[:, 0] = START_TIME
        return state

    def _rest(self, n: int) -> np.ndarray:
        """(n, 1 + 2Q) clock, the model's own pose, no velocity."""
        state = np.zeros((n, 1 + 2 * self._joints))
        state[:, 0] = START_TIME
        state[:, 1 : 1 + self._joints] = self.body.model.qpos0
        return state

    def _split(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return state[..., 1 : 1 + self._joints], state[..., 1 + self._joints :]

    def _sound(self, state: np.ndarray, time: float | None = None) -> np.ndarray:
        """(n,) bool: finite, and the clock shows that every step was made.

        A rollout stops at the first warning, and MuJoCo resets what it finds unusable. A warning
        without a reset (too many contacts) in a decision's very last step shows one decision late.
        """
        timestep = self.body.model.opt.timestep
        expected = START_TIME + self.steps * timestep if time is None else time
        on_time = np.abs(state[:, 0] - expected) < timestep / 2
        return on_time & (np.abs(state[:, 1:]) < HUGE).all(1)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(self.device)


class _Physics:
    """MuJoCo's batched rollout, its threads and buffers kept between calls."""

    def __init__(self, model: "mujoco.MjModel", threads: int | None):
        import mujoco

        self._mujoco = mujoco
        self._model = copy.copy(model)
        # Sensors change nothing about the motion, and nobody reads them here.
        self._model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
        self._most = min(cores(), MOST_THREADS) if threads is None else threads
        self._worth = WORTH_THREADS if threads is None else 0
        self._data = [mujoco.MjData(self._model) for _ in range(max(1, self._most))]
        self._pools: dict[int, Any] = {}  # threads to mujoco.rollout.Rollout
        self._path = np.empty((0, 0, 0))

    def advance(self, state: np.ndarray, control: np.ndarray, steps: int) -> np.ndarray:
        """Hold control (n, A) for some physics steps from states (n, 1 + 2Q).

        Returns:
            (n, steps, 1 + 2Q) in a buffer that the next call overwrites.
        """
        self._prepare(len(state), steps, state.shape[1])
        self._control[:] = control[:, None]
        before = self._mujoco.get_mju_user_warning()
        # Left alone, warnings fill a file in the working folder; `broken` tells of them instead.
        self._mujoco.set_mju_user_warning(_ignore)
        try:
            pool = self._pool(len(state) * steps)
            pool.rollout(
                self._models,
                self._data[: max(1, pool.nthread)],
                np.ascontiguousarray(state),
                self._control,
                nstep=steps,
                state=self._path,
                sensordata=self._sensors,
                skip_checks=True,
            )
        finally:
            self._mujoco.set_mju_user_warning(before)
        return self._path

    def _prepare(self, n: int, steps: int, width: int) -> None:
        if self._path.shape != (n, steps, width):
            self._path = np.empty((n, steps, width))
            self._sensors = np.empty((n, steps, self._model.nsensordata))
            self._control = np.empty((n, steps, self._model.nu))
            self._models = [self._model] * n

    def _pool(self, work: int) -> Any:
        from mujoco import rollout

        threads = self._most if self._most > 1 and work >= self._worth else 0
        if threads not in self._pools:
            self._pools[threads] = rollout.Rollout(nthread=threads)
        return self._pools[threads]


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ignore(message: str) -> None:
    """Takes MuJoCo's warnings."""
