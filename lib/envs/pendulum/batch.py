"""Torque pendulums in lock-step, all as tensors on one device.

Letters: n copies, A numbers in an action.
"""

import numpy as np
import torch
from torch import Tensor

from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.pendulum.drawing import pictures
from lib.envs.pendulum.tasks import PendulumTask

DT = 0.05  # [s] of an env step
FASTEST = 8.0  # [rad/s] speeds are cut there
HANGING, SPREAD = torch.pi, 0.5  # episodes start at rest below, give or take [rad, rad/s]
SPEED_SHOWN = 4.0  # [rad/s] that is observed as 1
SPEED_COST = TORQUE_COST = 0.01
SCALE = 0.5  # the most that an env step pays
VECTOR = ObsSpace("vector", (3,))


class PendulumBatch:
    """One task, n copies in lock-step: an `EndingEnv` whose episodes time alone ends.

    An env step with angle x, speed v and torque u, the mean of the actions cut to [-1, 1]:

        v <- v + 0.05 (1.5 g/l sin x + 6 gear u / l^2), cut to [-8, 8];   x <- x + 0.05 v

    pays 0.5 (cos(x - goal) - 0.01 v^2 - 0.01 u^2), after it has moved. Observed is
    (cos x, sin x, v / 4), or a picture.

    Args:
        task: from `tasks.resolve`.
        episode_length: decisions after which an episode is cut.
        repeat: env steps that a decision lasts, their rewards summed.
        device: of every tensor.
        side: height and width of pictures [pixels]; 0 shows the state.
    """

    broken = cell = None

    def __init__(
        self,
        task: PendulumTask,
        episode_length: int,
        repeat: int = 2,
        device: torch.device | str = "cpu",
        side: int = 0,
    ):
        self.task, self.name, self.repeat, self.side = task, task.name, repeat, side
        self.episode_length, self.device = episode_length, torch.device(device)
        self.obs_space = ObsSpace("image", (side, side, 3), torch.uint8) if side else VECTOR
        self.obs_dim = self.obs_space.shape[0] if not side else side * side * 3
        self.actions = ActionSpace(task.actions, discrete=False)
        self._clear(0)

    def _clear(self, n: int) -> None:
        self._state = torch.zeros(n, 2, device=self.device)  # angle, speed
        self._length = torch.zeros(n, dtype=torch.long)  # decisions so far, on the host

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Start n episodes; returns (n, *shape)."""
        self._clear(n)
        return self.restart(torch.ones(n, dtype=torch.bool), generator)

    def restart(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Start new episodes of the copies that are true in `chosen` (n,); returns (n, *shape).

        As much is drawn whichever copies are meant.
        """
        n = len(self._state)
        uniform = torch.rand(n, 2, generator=generator, device=generator.device).to(self.device)
        start = (2 * uniform - 1) * SPREAD
        start[:, 0] += HANGING
        self._state = torch.where(chosen.to(self.device).unsqueeze(1), start, self._state)
        self._length = torch.where(chosen.cpu(), 0, self._length)
        return self._observed()

    def step(self, action: Tensor, only: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, A) actions to the next observation (n, *shape) and the reward (n,).

        Args:
            only: (n,) bool, the copies that step; the others wait. All of them if not given.
        """
        expected = (len(self._state), self.actions.size)
        if action.shape != expected:
            raise ValueError(f"actions {tuple(action.shape)}; {self.name} steps with {expected}")
        going = ~self.ended if only is None else ~self.ended & only.cpu()
        self._length = self._length + going
        torque = action.to(self.device, torch.float32).clamp(-1, 1).mean(1)
        state, total = self._state, torch.zeros(len(action), device=self.device)
        for _ in range(self.repeat):
            state, reward = self._moved(state, torque)
            total = total + reward
        goes = going.to(self.device)
        self._state = torch.where(goes.unsqueeze(1), state, self._state)
        return self._observed(), torch.where(goes, total, torch.zeros_like(total))

    def _moved(self, state: Tensor, torque: Tensor) -> tuple[Tensor, Tensor]:
        """One env step: state (n, 2) and torque (n,) to the next state and the reward."""
        task, (angle, speed) = self.task, state.unbind(1)
        pull = 1.5 * task.g / task.l * angle.sin() + 6 * task.gear / task.l**2 * torque
        speed = (speed + DT * pull).clamp(-FASTEST, FASTEST)
        angle = angle + DT * speed
        cost = SPEED_COST * speed.square() + TORQUE_COST * torque.square()
        return torch.stack((angle, speed), 1), SCALE * ((angle - task.goal).cos() - cost)

    def _observed(self) -> Tensor:
        angle, speed = self._state.unbind(1)
        if self.side:
            return pictures(angle, self.task, self.side)
        return torch.stack((angle.cos(), angle.sin(), speed / SPEED_SHOWN), 1)

    @property
    def ended(self) -> Tensor:
        """(n,) bool on the host: episodes that are over."""
        return self._length >= self.episode_length

    @property
    def terminal(self) -> Tensor:
        """(n,) bool on the host: all false, as time alone ends an episode."""
        return torch.zeros(len(self._length), dtype=torch.bool)

    @property
    def success(self) -> Tensor:
        """(n,) bool on the host: all false; rewards alone tell how well it went."""
        return torch.zeros(len(self._length), dtype=torch.bool)

    def pose(self) -> np.ndarray:
        """(n, 1) angles from upright [rad]."""
        return self._state[:, :1].cpu().numpy().copy()

    def state_dict(self) -> dict[str, Tensor]:
        """Every episode in progress: state (n, 2), length (n,) and obs (n, *shape)."""
        return {
            "state": self._state.clone(),
            "length": self._length.clone(),
            "obs": self._observed(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        self._state = state["state"].to(self.device, copy=True)
        self._length = state["length"].cpu().clone()

    def close(self) -> None:
        """Forgets all episodes."""
        self._clear(0)
