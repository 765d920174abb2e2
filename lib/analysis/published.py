"""Reads learning curves that other people published, thinned to a few milestones with sources.

The tasks are those of the cheetah and the walker whose rewards are the same as here, so a return
means the same. Names are the same too; mind that cheetah-run-back (upright, on the back foot) is
another task than cheetah-run-backwards. Learners differ: each published curve is one task learnt
from nothing, on a learnt encoding of the state, or on pictures where a name has underscores, as in
cheetah_run.

Sources: results/ of the TD-MPC2 repository (Hansen, Su and Wang, ICLR 2024), whose steps are env
steps; four files of TD-MPC hold five runs up to 700,000 steps and three beyond. Pictures: plots/ of
DreamerPro's repository (Deng, Jang and Ahn, ICML 2022), three runs each, on the suite's own
backgrounds and before films of drives, with which generated clips cannot be compared; and scores/
of Dreamer's (Hafner et al., ICLR 2020), five runs, whole numbers, whose standard deviations divide
by five instead of four.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.core.metrics import Array
from lib.core.paths import OUTPUTS

MILESTONES = OUTPUTS / "published" / "milestones.csv"
PLAIN, FILMS = "plain", "films"  # behind a body in pictures; "" in rows about states


@dataclass(frozen=True, eq=False)
class Curve:
    """Holds one method on one task: mean return at a few env steps, increasing from 0."""

    method: str
    task: str
    env_steps: Array  # (points,) env steps, whatever the learner's action repeat
    mean: Array  # (points,) mean return over the runs
    std: Array  # (points,) their sample standard deviation
    seeds: Array  # (points,) how many runs
    source: str  # repository, commit and file

    def at(self, env_steps: float) -> float:
        """Returns the mean at any env step, on a straight line between milestones; NaN beyond."""
        if not self.env_steps[0] <= env_steps <= self.env_steps[-1]:
            return float("nan")
        return float(np.interp(env_steps, self.env_steps, self.mean))

    def between(self, low: float, high: float) -> float:
        """Returns the mean height of the line from one env step to another; NaN beyond its ends."""
        ends = np.array([self.at(low), self.at(high)])
        if not np.isfinite(ends).all() or high <= low:
            return float("nan")
        inside = (self.env_steps > low) & (self.env_steps < high)
        steps = np.concatenate([[low], self.env_steps[inside], [high]])
        heights = np.concatenate([ends[:1], self.mean[inside], ends[1:]])
        return float(np.trapezoid(heights, steps) / (high - low))

    def cell(self, env_steps: float) -> str:
        """Returns the same for a table: `824 ± 99` at a milestone, `~600` between, or a dash."""
        for index in np.flatnonzero(self.env_steps == env_steps):
            return f"{self.mean[index]:.0f} ± {self.std[index]:.0f}"
        mean = self.at(env_steps)
        return f"~{mean:.0f}" if np.isfinite(mean) else "–"


def curves(task: str, background: str = PLAIN, path: Path = MILESTONES) -> tuple[Curve, ...]:
    """Returns what is published about a task, in the file's order; empty where nothing is.

    Args:
        task: full name, such as cheetah-run, or walker_run of pictures.
        background: `env.background` of the runs; whatever moves is shown beside films.
        path: a table with the columns method, task, background, env_steps, mean_return, std, seeds
            and source.
    """
    if not path.is_file():
        return ()
    grounds = ("", PLAIN) if background == PLAIN else (FILMS,)
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == task]
    rows = [row for row in rows if row["background"] in grounds]
    methods = dict.fromkeys(row["method"] for row in rows)
    return tuple(_curve([row for row in rows if row["method"] == method]) for method in methods)


def _curve(rows: list[dict[str, str]]) -> Curve:
    columns = ("env_steps", "mean_return", "std", "seeds")
    numbers = [np.array([float(row[name]) for row in rows]) for name in columns]
    first = rows[0]
    return Curve(first["method"], first["task"], *numbers, source=first["source"])


def sources(found: tuple[Curve, ...]) -> str:
    """Returns where curves come from: each repository and commit once, with its folders."""
    folders_of: dict[str, dict[str, None]] = {}
    for curve in found:
        repository, _, file = curve.source.partition(" ")
        folders_of.setdefault(repository, {})[file.rpartition("/")[0]] = None
    return "; ".join(
        f"{repository} {', '.join(folders)}" for repository, folders in folders_of.items()
    )
