"""What batches share whose episodes may end early: a row of numbers per copy, kept on the host.

Letters: n copies, A numbers in an action. Stored observations are (n, *shape).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lib.core.spaces import ActionSpace, ObsSpace

SEEDS = 2**31 - 1  # NetHack and older environments take seeds below this


class EndingBatch:
    """Copies in lock-step whose episodes begin and end each at its own time.

    A world defines `_ask_for`, `_begin` and `_advance`. A copy that has ended waits: it ignores its
    action, repeats its observation and earns 0, until `restart` or `reset`.

    Args:
        name: the task's, for messages.
        obs_space, actions: the world's.
        episode_length: decisions after which an episode is cut.
        device: of observations and rewards.
    """

    def __init__(
        self,
        name: str,
        obs_space: ObsSpace,
        actions: ActionSpace,
        episode_length: int,
        device: torch.device | str,
    ):
        self.name, self.obs_space, self.actions = name, obs_space, actions
        self.obs_dim = int(np.prod(obs_space.shape))
        self.episode_length, self.device = episode_length, torch.device(device)
        self._clear(0)

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Start n episodes, each with a seed from the generator; returns (n, *shape)."""
        self._ask_for(n)
        self._clear(n)
        self._begin(range(n), self._seeds(n, generator))
        return self._observed()

    def restart(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Start new episodes of the copies that are true in `chosen` (n,); returns (n, *shape).

        The others go on as they were. One seed per copy is drawn, so the generator moves on by as
        much whichever copies are meant.
        """
        seeds = self._seeds(len(self._obs), generator)
        copies = chosen.cpu().nonzero()[:, 0].tolist()
        self._begin(copies, [seeds[copy] for copy in copies])
        return self._observed()

    def step(self, action: Tensor, only: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, A) actions to the next observation (n, *shape) and the reward (n,).

        Args:
            only: (n,) bool, the copies that step; the others wait. All of them if not given.
        """
        rows = action.detach().to("cpu", torch.float32).numpy()
        expected = (len(self._obs), self.actions.size)
        if rows.shape != expected:
            raise ValueError(f"actions {rows.shape}; {self.name} steps with {expected}")
        reward = np.zeros(len(rows), dtype=np.float32)
        going = ~self._ended if only is None else ~self._ended & only.cpu().numpy()
        copies = np.flatnonzero(going).tolist()
        reward[copies] = self._advance(copies, rows[copies])
        return self._observed(), torch.from_numpy(reward).to(self.device)

    @property
    def ended(self) -> Tensor:
        """(n,) bool on the host: episodes that are over."""
        return torch.from_numpy(self._ended.copy())

    @property
    def terminal(self) -> Tensor:
        """(n,) bool on the host: over because the task ended, not because time did."""
        return torch.from_numpy(self._terminal.copy())

    def pose(self) -> np.ndarray:
        """(n, L) the stored observations, flat."""
        return self._obs.reshape(len(self._obs), -1).copy()

    # --- what a world defines ----------------------------------------------------------------

    def _ask_for(self, n: int) -> None:
        """Makes ready n copies."""
        raise NotImplementedError

    def _begin(self, copies: Sequence[int], seeds: Sequence[int]) -> None:
        """Starts episodes of some copies."""
        raise NotImplementedError

    def _advance(self, copies: Sequence[int], rows: np.ndarray) -> Sequence[float]:
        """Takes a decision of copies that have not ended, rows (copies, A); their rewards."""
        raise NotImplementedError

    # --- rows --------------------------------------------------------------------------------

    def _clear(self, n: int) -> None:
        space = self.obs_space
        stored = torch.empty(0, dtype=space.dtype).numpy().dtype
        self._obs = np.zeros((n, *space.shape), dtype=stored)
        self._seed = np.zeros(n, dtype=np.int64)
        self._length = np.zeros(n, dtype=np.int64)
        self._ended, self._terminal = (np.zeros(n, dtype=bool) for _ in range(2))

    def _seeds(self, n: int, generator: torch.Generator) -> list[int]:
        """One seed per copy, drawn from a generator on any device."""
        return torch.randint(SEEDS, (n,), generator=generator, device=generator.device).tolist()

    def _observed(self) -> Tensor:
        return torch.from_numpy(self._obs.copy()).to(self.device)
