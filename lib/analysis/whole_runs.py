"""What a whole run comes to: its returns over all evaluations, and over the last tenth of them.

These two are how Sasso, Sabatelli and Wiering tell what transfer from several sources is worth
(TMLR 2023, arXiv 2205.14410; their scripts): the mean over all evaluations and runs, and over the
last tenth, each with the standard deviation over evaluations and runs, which is no error of the
mean. A run with fewer evaluations than the others goes on with its last one. Theirs are of single
episodes, ours means of several. Beside them stand means of each run with an interval over runs,
the area under the curve, and the last evaluation.

Letters: S runs (seeds), N evaluations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lib.analysis.published import Curve
from lib.core import metrics
from lib.core.metrics import Array, Estimate

if TYPE_CHECKING:
    from lib.analysis.results import Group

LAST = 0.1  # share of the evaluations that count as a run's end
HEADER = (
    "overall",
    "final 10 %",
    "overall, by run",
    "final 10 %, by run",
    "area under the curve",
    "last evaluation",
)
FORM = ".1f"


@dataclass(frozen=True, eq=False)
class Pooled:
    """Returns of some evaluations of several runs."""

    returns: Array  # (S, N)

    @property
    def of_runs(self) -> Array:
        """Returns (S,) means of every run."""
        return self.returns.mean(1)

    @property
    def estimate(self) -> Estimate:
        """Returns the interquartile mean over runs with its interval."""
        return metrics.interval(self.of_runs)

    @property
    def text(self) -> str:
        """Returns the authors' number: mean ± standard deviation over runs and evaluations."""
        return f"{self.returns.mean():{FORM}} ± {self.returns.std():{FORM}}"


@dataclass(frozen=True, eq=False)
class WholeRuns:
    """Measures of several runs on one task."""

    overall: Pooled  # all evaluations
    last: Pooled  # the last tenth of them
    area: Array  # (S,) mean height of each learning curve over env steps [task units]
    final: Array  # (S,) the last evaluation of each

    def cells(self) -> list[str]:
        """Returns a row under `HEADER`."""
        over_runs = (self.overall.of_runs, self.last.of_runs, self.area, self.final)
        return [
            self.overall.text,
            self.last.text,
            *(metrics.interval(values).text(FORM) for values in over_runs),
        ]


def measured(steps: Sequence[Array], returns: Sequence[Array]) -> WholeRuns:
    """Returns the measures of runs.

    Args:
        steps: of each run its (evaluations,) env steps, increasing.
        returns: of each run its (evaluations,) mean returns; runs may differ in how many.
    """
    many = max(map(len, returns))
    filled = np.stack([np.pad(each, (0, many - len(each)), mode="edge") for each in returns])
    areas = [metrics.area_under_curve(*curve) for curve in zip(steps, returns, strict=True)]
    last = max(1, int(LAST * many))
    return WholeRuns(Pooled(filled), Pooled(filled[:, -last:]), np.array(areas), filled[:, -1])


def of_group(group: "Group", task: str) -> WholeRuns | None:
    """Returns the measures of a group on a task; None where none of its runs was evaluated."""
    curves = [run.curves[task] for run in group.runs if len(run.curves.get(task, ((),))[0])]
    if not curves:
        return None
    return measured(*zip(*curves, strict=True))


def table(
    groups: Sequence["Group"], task: str, published: Sequence[Curve] = ()
) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows of a table: a group's label, what it began with, and its measures.

    Args:
        published: curves of others on the task, which follow at our env steps. Means of theirs lie
            on straight lines between milestones, and are marked ~.
    """
    found = {group.label: of_group(group, task) for group in groups}
    rows = [
        [
            group.label,
            group.first.began.begins or "nothing",
            ", ".join(group.first.began.sources) or "–",
            *one.cells(),
        ]
        for group in groups
        if (one := found[group.label])
    ]
    ends = [group.curve(task)[0][-1] for group in groups if found[group.label]]
    rows += [_published(curve, max(ends)) for curve in published if ends]
    return ["runs", "begin with", "of", *HEADER], rows


def _published(curve: Curve, end: float) -> list[str]:
    """Returns the row of somebody else's curve, up to an env step."""
    means = (curve.between(0.0, end), curve.between((1 - LAST) * end, end))
    overall, last = (f"~{mean:.0f}" if np.isfinite(mean) else "–" for mean in means)
    label = f"{curve.method}, published ({int(curve.seeds.min())} runs)"
    return [label, "nothing", "–", overall, last, "–", "–", overall, curve.cell(end)]


def by_run(groups: Sequence["Group"], task: str) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows of a table of single runs."""
    header = ["runs", "seed", "overall", "final 10 %", "area under the curve", "last evaluation"]
    rows = []
    for group in groups:
        runs = [run for run in group.runs if len(run.curves.get(task, ((),))[0])]
        found = of_group(group, task)
        if found is None:
            continue
        columns = (found.overall.of_runs, found.last.of_runs, found.area, found.final)
        for run, *values in zip(runs, *columns, strict=True):
            rows.append([group.label, str(run.seed), *(f"{value:{FORM}}" for value in values)])
    return header, rows
