"""Visit counts pay a bonus for entering cells that have rarely been visited.

Letters: E episodes, T steps.
"""

from typing import Any

import torch
from torch import Tensor

from lib.algos.dreamer.exploration.api import Exploration
from lib.algos.dreamer.run_settings import DreamerRun
from lib.core.errors import UserError
from lib.envs import worlds
from lib.replay.buffer import Episodes

CELLS = 4096  # more than any grid here has


def visit_bonus(cell: Tensor, length: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Returns 1/sqrt(N) of the cell that each step enters, in the order played.

    Args:
        cell: (E, T+1) int64 cell before and after every step; N counts the step that enters.
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


class Visits(Exploration):
    """Rewards that are stored include a bonus of 1/sqrt(N), N counted in this task."""

    counts: Tensor | None = None  # (cells,) steps spent in each, this task

    @classmethod
    def check(cls, run: DreamerRun) -> None:
        """Raises UserError where a world has no cells."""
        if not worlds.of(run.env).has_cells:
            raise UserError(
                f"explore.bonus 'visits' counts cells of minigrid, but env.domain is "
                f"'{run.env.domain}'; use 'plan2explore' or 'none'"
            )

    def begin_task(self) -> None:
        """Counts anew."""
        self.counts = None

    def pay(self, episodes: Episodes) -> Episodes:
        """Adds the bonus to rewards, weighted by `explore.visits`."""
        if self.counts is None:
            self.counts = torch.zeros(CELLS, dtype=torch.int64)
        bonus, self.counts = visit_bonus(episodes.cell, episodes.length, self.counts)
        bonus = self.cfg.explore.visits * bonus.to(episodes.reward.device)
        return episodes._replace(reward=episodes.reward + bonus)

    def state_dict(self) -> dict[str, Any]:
        """Returns the counts."""
        return {"visits": self.counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the counts."""
        self.counts = state["visits"]


EXPLORATION = Visits
