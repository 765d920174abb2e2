"""Running means of scalars on the device, which the host reads only when a report is due."""

from collections.abc import Iterable

import torch
from torch import Tensor


class RunningMeans:
    """Sums groups of scalars on the device, in place, and reads each group once per report.

    The last number of a group's sums counts its observations.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.sums: dict[str, Tensor] = {}

    def group(self, name: str, quantities: Iterable[str], device: torch.device | str) -> Tensor:
        """Returns the sums of a group, made at its first use: one per quantity, and the count."""
        if name not in self.sums:
            self.names[name] = list(quantities)
            self.sums[name] = torch.zeros(len(self.names[name]) + 1, device=device)
        return self.sums[name]

    def add(self, name: str, values: dict[str, Tensor]) -> None:
        """Adds one observation of every scalar in the group."""
        row = observation(values)
        self.group(name, values, row.device).add_(row)

    def finite(self) -> dict[str, bool]:
        """Says for every scalar whether all its observations were finite."""
        return {
            f"{group}/{name}": ok
            for group, row in self.sums.items()
            for name, ok in zip(self.names[group], torch.isfinite(row[:-1]).tolist(), strict=True)
        }

    def means(self) -> dict[str, float]:
        """Returns the mean of every scalar observed since the last clear."""
        read = {group: row.tolist() for group, row in self.sums.items()}
        return {
            f"{group}/{name}": value / row[-1]
            for group, row in read.items()
            if row[-1]
            for name, value in zip(self.names[group], row, strict=False)
        }

    def clear(self) -> None:
        for row in self.sums.values():
            row.zero_()

    def state_dict(self) -> dict:
        return {"names": self.names, "sums": self.sums}

    def load_state_dict(self, state: dict, device: torch.device | str) -> None:
        self.names = {group: list(names) for group, names in state["names"].items()}
        self.sums = {group: row.to(device).clone() for group, row in state["sums"].items()}


def observation(values: dict[str, Tensor]) -> Tensor:
    """Stacks scalars, or one per seed, and a count of one into a row to add: (..., k + 1)."""
    row = [value.detach() for value in values.values()]
    return torch.stack([*row, torch.ones_like(row[0])], -1)
