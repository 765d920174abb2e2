"""A pool of records on the device, in which what is no longer kept makes room.

Letters: A action size, R records.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SMALLEST = 1 << 10  # records that memory is reserved for at first
COPIED = 1 << 14  # records that are copied to the host at once


class Records:
    """A pool of records of which any may be used, freed and used again.

    Memory is reserved in powers of two as needed, never for more than `limit` records; while it
    grows, old and new pool exist side by side. A record takes its observation and 4 A + 5 bytes,
    and 16 bytes on the host: two million of 64x64x3 bytes are 25 GB, of 7x7x3 0.4 GB.
    """

    FIELDS = ("obs", "action", "reward", "terminal")

    def __init__(
        self,
        limit: int,
        obs_shape: Sequence[int],
        obs_dtype: torch.dtype,
        action_size: int,
        device: torch.device | str,
    ):
        self.limit = limit
        self.obs = torch.zeros(0, *obs_shape, dtype=obs_dtype, device=device)
        self.action = torch.zeros(0, action_size, device=device)
        self.reward = torch.zeros(0, device=device)
        self.terminal = torch.zeros(0, dtype=torch.bool, device=device)
        self.free, self.free_count = np.zeros(0, np.int64), 0  # a stack of unused slots

    def take(self, n: int) -> np.ndarray:
        """Takes (n,) free slots into use."""
        if n > self.free_count:
            self._grow(n)
        self.free_count -= n
        return self.free[self.free_count : self.free_count + n][::-1].copy()

    def give(self, slots: np.ndarray) -> None:
        """Frees slots."""
        self.free[self.free_count : self.free_count + len(slots)] = slots
        self.free_count += len(slots)

    def _grow(self, n: int) -> None:
        held = len(self.free)
        needed = held - self.free_count + n
        size = max(min(1 << (max(SMALLEST, needed) - 1).bit_length(), self.limit), needed)
        for name in self.FIELDS:
            old = getattr(self, name)
            new = old.new_zeros(size, *old.shape[1:])
            new[:held] = old
            setattr(self, name, new)
        used, self.free = self.free[: self.free_count], np.zeros(size, np.int64)
        # New slots lie below the freed ones, the lowest on top: a young pool is filled in order.
        fresh = np.arange(size - 1, held - 1, -1)
        self.free[: len(fresh)], self.free_count = fresh, len(fresh)
        self.give(used)

    def write(self, slots: Tensor, *values: Tensor) -> None:
        """Stores R records, values in the order of FIELDS, at `slots` (R,)."""
        for name, value in zip(self.FIELDS, values, strict=True):
            pool = getattr(self, name)
            pool.index_copy_(0, slots, value.to(pool.device, non_blocking=True))

    def read(self, slots: np.ndarray) -> dict[str, Tensor]:
        """Copies R records to the host, a part at a time."""
        found = {}
        for name in self.FIELDS:
            pool = getattr(self, name)
            found[name] = pool.new_empty(len(slots), *pool.shape[1:], device="cpu")
            for begin in range(0, len(slots), COPIED):
                part = torch.from_numpy(slots[begin : begin + COPIED]).to(pool.device)
                found[name][begin : begin + COPIED] = pool[part]
        return found
