"""A bonus for entering cells that have rarely been visited, for worlds that have cells.

Letters: E episodes, T steps.
"""

import torch
from torch import Tensor

CELLS = 4096  # more than any grid here has


def visit_bonus(cell: Tensor, length: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """1/sqrt(N) for the cell that each step enters, N counting that step, in the order played.

    Args:
        cell: (E, T+1) int64 cell before and after every step.
        length: (E,) steps of each episode.
        counts: (cells,) int64 steps spent in each cell so far.

    Returns:
        (E, T) float32, 0 after an episode's end, and the new counts.

    Source: Continual-Dreamer's code, `state_bonus`.
    """
    counts, bonus = counts.clone(), torch.zeros(cell.shape[0], cell.shape[1] - 1)
    for e, steps in enumerate(length.tolist()):
        entered = cell[e, 1 : steps + 1]
        # The k-th step into a cell within this episode comes on top of what was counted before.
        same = entered.unsqueeze(0) == entered.unsqueeze(1)  # (steps, steps)
        nth = counts[entered] + same.tril().sum(1)
        bonus[e, :steps] = nth.float().rsqrt()
        counts.index_add_(0, entered, torch.ones_like(entered))
    return bonus, counts
