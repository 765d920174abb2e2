"""Every row of a batch may be read with a set of tensors of its own.

Shapes: B rows, L layers, W sets that a row has.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Pick = Callable[[str, int], Tensor]
"""A tensor's name and a layer to that layer's tensor: (., .) for all rows, or (B, ., .)."""


def of_all(tensors: Mapping[str, Tensor]) -> Pick:
    """Picks from the one set that all rows have.

    Args:
        tensors: names to (L, ., .).
    """
    return lambda name, layer: tensors[name][layer]


def of_each(sets: Sequence[Mapping[str, Tensor]], index: Tensor) -> Pick:
    """Picks from sets of which every row has its own, or several, one after the other.

    Only sets that a row has are read, so that the others get no gradient at all: an optimiser with
    momentum would go on moving them along one of 0.

    Args:
        sets: each names to (L, ., .).
        index: (B,) which of the sets each row has, or (B, W); those are joined along the first of a
            tensor's own axes.
    """
    used, row = index.unique(return_inverse=True)
    chosen = [sets[int(i)] for i in used]
    if len(chosen) == 1 and index.dim() == 1:
        return of_all(chosen[0])
    stacked = {name: torch.stack([one[name] for one in chosen], 1) for name in chosen[0]}

    def pick(name: str, layer: int) -> Tensor:
        found = stacked[name][layer][row]  # (B, ., .) or (B, W, ., .)
        return found if index.dim() == 1 else found.flatten(1, 2)

    return pick
