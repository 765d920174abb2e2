"""A point on a table, n copies in lock-step: it is pushed, slides, and should rest at a goal.

Letters: n copies, A numbers in an action.
"""

import math

import numpy as np
import torch
from torch import Tensor

from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.point_mass.tasks import QUADRANTS, PointTask

KEPT, PUSH = 0.7, 0.03  # share of the velocity that lasts, and what a push adds [lengths a step]
EDGE = 1.5  # the table goes so far from its middle on each side
SHOWN = 5  # velocities and ways that are left are shown so many times as large
NEAR = 0.15  # so close to its goal a point has reached it
START, GOALS = 0.25, (0.4, 0.9)  # largest start, smallest and largest goal, along each axis
CELLS = 40  # of a length of 1 along x; they belong in turn to training and to evaluation


class PointMass:
    """Pushes points: an `EndingEnv` whose episodes all end with their time.

    The observation is position, velocity (lengths in five steps), goal and the way that is left to
    it, as a sensor shows it that reads fifths of a length and goes no further than one; x and y of
    each (8 numbers). The reward is the share of the first distance to the goal that a step
    covers, so that an episode that ends at its goal earns 1, wherever it began: a return that says
    how well it was done and not how easy it was. An episode succeeds where its point ends at the
    goal.

    Where goals and starts of training and of evaluation lie are different cells of a chequered
    plane, so that no evaluation has been met before.

    Args:
        task: where goals lie and how the push is turned.
        episode_length: decisions.
        evaluates: draw starts and goals of evaluation.
        device: where every number lives.
    """

    broken = None
    cell = None
    obs_dim = 8
    obs_space = ObsSpace("vector", (8,))

    def __init__(
        self, task: PointTask, episode_length: int, evaluates: bool, device: torch.device | str
    ):
        self.task, self.episode_length, self.evaluates = task, episode_length, evaluates
        self.device = torch.device(device)
        self.actions = ActionSpace(task.axes, discrete=False)
        angle = math.radians(task.turn)
        turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        self.turn = torch.tensor(turn, device=self.device)
        self._begin(torch.zeros(0, 2, device=self.device), torch.zeros(0, 2, device=self.device))

    def _begin(self, position: Tensor, goal: Tensor) -> None:
        self.position, self.goal = position, goal
        self.velocity = torch.zeros_like(position)
        self.time = torch.zeros(len(position), dtype=torch.long, device=self.device)
        self.first = self._distance()

    # --- episodes ------------------------------------------------------------------------

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Starts n episodes at rest; returns (n, 8)."""
        self._begin(*self._drawn(n, generator))
        return self._observed()

    def restart(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Starts new episodes of the copies that are true in `chosen` (n,); returns (n, 8)."""
        position, goal = self._drawn(len(self.time), generator)
        chosen = chosen.to(self.device)
        here = chosen.unsqueeze(1)
        self.position = torch.where(here, position, self.position)
        self.goal = torch.where(here, goal, self.goal)
        self.velocity = self.velocity * ~here
        self.time = self.time * ~chosen
        self.first = torch.where(chosen, self._distance(), self.first)
        return self._observed()

    def _drawn(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws starts and goals (n, 2)."""
        axes, low, high = self.task.axes, *GOALS
        quadrant = torch.randint(
            len(self.task.quadrants), (n,), generator=generator, device=generator.device
        )
        signs = torch.tensor([QUADRANTS[q] for q in self.task.quadrants], device=generator.device)
        starts = self._in_own_cells(n, -START, START, generator)
        goals = self._in_own_cells(n, low, high, generator) * signs[quadrant]
        if axes == 1:
            flat = torch.tensor([1.0, 0.0], device=generator.device)
            starts, goals = starts * flat, goals * flat
        return starts.to(self.device), goals.to(self.device)

    def _in_own_cells(self, n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
        """Draws (n, 2) evenly from every second cell along x of a square's."""
        side = 1 / CELLS
        count = round((high - low) / side)
        uniform = torch.rand(n, 2, generator=generator, device=generator.device)
        x = uniform[:, 0] * (count // 2)
        cell = x.floor()
        first = low + (2 * cell + (1 if self.evaluates else 0) + (x - cell)) * side
        return torch.stack((first, low + uniform[:, 1] * (high - low)), 1)

    def step(self, action: Tensor, only: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, A) actions, clipped to [-1, 1]; returns observation (n, 8) and reward (n,)."""
        push = torch.zeros_like(self.position)
        push[:, : self.task.axes] = action.to(self.device, torch.float32).clamp(-1, 1)
        going = self.time < self.episode_length
        going = going if only is None else going & only.to(self.device)
        here, before = going.unsqueeze(1), self._distance()
        velocity = KEPT * self.velocity + PUSH * push @ self.turn.T
        position = (self.position + velocity).clamp(-EDGE, EDGE)
        self.velocity = torch.where(here, velocity, self.velocity)
        self.position = torch.where(here, position, self.position)
        self.time = self.time + going
        return self._observed(), (before - self._distance()) / self.first

    def _distance(self) -> Tensor:
        return (self.goal - self.position).norm(dim=1)

    def _observed(self) -> Tensor:
        left = (SHOWN * (self.goal - self.position)).clamp(-1, 1)
        parts = (self.position, SHOWN * self.velocity, self.goal, left)
        return torch.cat(parts, 1)

    # --- what there is to know -----------------------------------------------------------

    @property
    def ended(self) -> Tensor:
        """(n,) bool on the host: the episode's time is over."""
        return (self.time >= self.episode_length).cpu()

    @property
    def terminal(self) -> Tensor:
        """(n,) bool on the host: never, only time ends an episode."""
        return torch.zeros(len(self.time), dtype=torch.bool)

    @property
    def success(self) -> Tensor:
        """(n,) bool on the host: the point is at its goal."""
        return (self._distance() < NEAR).cpu()

    def pose(self) -> np.ndarray:
        """(n, 8): an observation is a pose."""
        return self._observed().cpu().numpy()

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the episodes in progress."""
        names = ("position", "velocity", "goal", "time", "first")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Goes on from there."""
        for name, value in state.items():
            setattr(self, name, value.to(self.device))

    def close(self) -> None:
        """Does nothing: there is nothing to give back."""
