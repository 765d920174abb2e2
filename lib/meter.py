"""Running means of device scalars that are read by the host only when a report is due."""

import torch
from torch import Tensor


class Meter:
    """Sums groups of scalars on the device; one host read per group and report."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, group: str, values: dict[str, Tensor]) -> None:
        """Adds one observation of every scalar in the group."""
        row = torch.stack([value.detach() for value in values.values()])
        if group not in self.sums:
            self.names[group] = list(values)
            self.sums[group], self.counts[group] = row, 1
        else:
            self.sums[group] = self.sums[group] + row
            self.counts[group] += 1

    def finite(self) -> dict[str, bool]:
        """For every scalar, whether all its observations were finite."""
        return {
            f"{group}/{name}": ok
            for group, row in self.sums.items()
            for name, ok in zip(self.names[group], torch.isfinite(row).tolist(), strict=True)
        }

    def means(self) -> dict[str, float]:
        """Mean of every scalar since the last clear."""
        return {
            f"{group}/{name}": value
            for group, row in self.sums.items()
            for name, value in zip(
                self.names[group], (row / self.counts[group]).tolist(), strict=True
            )
        }

    def clear(self) -> None:
        self.names, self.sums, self.counts = {}, {}, {}

    def state_dict(self) -> dict:
        return {"names": self.names, "sums": self.sums, "counts": self.counts}

    def load_state_dict(self, state: dict, device: torch.device | str) -> None:
        self.names, self.counts = dict(state["names"]), dict(state["counts"])
        self.sums = {group: row.to(device) for group, row in state["sums"].items()}
