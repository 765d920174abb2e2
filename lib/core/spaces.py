"""Spaces of observations and of actions.

Letters: n copies, A numbers in an action.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from lib.core.distributions import one_hot


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
        """Returns each discrete action's probability while acting at random; even unless given."""
        return self.warmup or (1 / self.size,) * self.size

    def random(
        self, n: int, generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draws (n, A) float32 actions: one-hot, or uniform in [-1, 1]. Reads nothing back."""
        width = 1 if self.discrete else self.size
        uniform = torch.rand(n, width, generator=generator, device=generator.device).to(device)
        if not self.discrete:
            return 2 * uniform - 1
        index = torch.zeros(n, dtype=torch.long, device=device)
        for edge in list(accumulate(self.chances))[:-1]:  # inverse of the cumulative chances
            index += uniform[:, 0] >= edge
        return one_hot(index, self.size)


@dataclass(frozen=True, eq=False)
class ObsSpace:
    """The kind of an environment's observations, and how they are stored.

    Letters: stored observations are (..., *shape).
    """

    kind: Literal["vector", "symbols", "image"]
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32  # as stored and replayed
    classes: tuple[int, ...] = ()  # symbols: how many values each plane (last axis) may take
    draw: Callable[[Tensor], Tensor] | None = None
    """image: stored (..., *shape) to (..., 64, 64, 3) uint8; None where images are stored."""
    parts: tuple[tuple[str, int], ...] = ()
    """vector: names and sizes of what follows one another in it; empty where nothing is named."""
