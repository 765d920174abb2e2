"""What a learner may ask of an environment: shapes, actions, and steps of many copies at once.

Letters: n copies, L numbers in an observation, A numbers in an action, S states.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lib.distributions import one_hot

Predict = Callable[[Tensor, Tensor], Tensor]
"""A world model: observation (n, L) and action (n, A) to the next observation (n, L)."""

Sample = Callable[[int], Tensor]
"""A generator of experience: n to (n, L + A), observation and action side by side."""

Intrinsic = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A reviewer's reward: observation, action, next observation to (n,)."""


@dataclass(frozen=True)
class ActionSpace:
    """The actions of an environment.

    Raises:
        ValueError: `warmup` is not one probability per discrete action.
    """

    size: int  # A
    discrete: bool  # True: one-hot vectors; False: [-1, 1]^A
    warmup: tuple[float, ...] = ()  # chance of each discrete action while acting at random

    def __post_init__(self) -> None:
        if not self.warmup:
            return
        fits = self.discrete and len(self.warmup) == self.size
        if not fits or min(self.warmup) < 0 or abs(sum(self.warmup) - 1) > 1e-6:
            raise ValueError(f"warmup {self.warmup} is not {self.size} action probabilities")

    @property
    def chances(self) -> tuple[float, ...]:
        """Probability of each discrete action while acting at random; even unless given."""
        return self.warmup or (1 / self.size,) * self.size

    def random(
        self, n: int, generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> Tensor:
        """(n, A) float32 random actions: one-hot, or uniform in [-1, 1]. Reads nothing back."""
        width = 1 if self.discrete else self.size
        uniform = torch.rand(n, width, generator=generator, device=generator.device).to(device)
        if not self.discrete:
            return 2 * uniform - 1
        index = torch.zeros(n, dtype=torch.long, device=device)
        for edge in list(accumulate(self.chances))[:-1]:  # inverse of the cumulative chances
            index += uniform[:, 0] >= edge
        return one_hot(index, self.size)


class VectorEnv(Protocol):
    """One task, n copies in lock-step, every tensor on one device; `step` reads nothing back."""

    obs_dim: int  # L
    actions: ActionSpace
    episode_length: int  # every episode has this many steps; the caller counts them

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Start n episodes; returns (n, L) float32."""
        ...

    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """(n, A) actions to the next observation (n, L) and the reward (n,)."""
        ...


class Domain(Protocol):
    """The world that a sequence of tasks shares: same states, actions and dynamics."""

    obs_dim: int
    actions: ActionSpace
    episode_length: int
    tasks: tuple  # records with a .name

    def make(self, task_index: int) -> VectorEnv:
        """The vector environment of one task."""
        ...

    def optimum(self, task_index: int) -> float | None:
        """Best mean undiscounted return over random starts, exact; None if unknown."""
        ...

    def new_memory(self) -> Tensor:
        """An empty record of the transitions met in each task."""
        ...

    def record(self, memory: Tensor, task_index: int, obs: Tensor, action: Tensor) -> None:
        """Mark what obs (E, T, L) and action (E, T, A) met, in place, reading nothing back."""
        ...

    def audit(
        self,
        memory: Tensor,
        predict: Predict,
        sample: Sample | None = None,
        intrinsic: Intrinsic | None = None,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Examine a world model over everything it could meet: flat metrics, and arrays."""
        ...
