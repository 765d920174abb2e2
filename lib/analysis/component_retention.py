"""Says what each part of an agent still knows of earlier tasks: world model, generator, policy.

Every component is one function of a finished run. [k, j] of its matrix says what it knows, after
task k, of task j.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.analysis.results import Group, Run
from lib.core import metrics
from lib.core.metrics import Array, Estimate


@dataclass(frozen=True)
class Component:
    """Names a part of an agent, with one number for what it knows of a task."""

    name: str
    axis: str  # what the number is, as the label of an axis
    matrix: Callable[[Run], Array]  # (tasks, tasks), NaN where unknown
    log: bool = False  # spans decades: averages of the logarithm

    def old_tasks(self, group: Group) -> Array:
        """Returns (seeds, tasks - 1): the mean over all tasks learnt before, after tasks 2, 3, ...

        NaN where it is known of none of them.
        """
        found = np.stack([self.matrix(run) for run in group.runs])  # (seeds, tasks, tasks)
        out = np.full(found.shape[:2], np.nan)
        for k in range(1, found.shape[1]):
            before = found[:, k, :k]
            before = np.log(np.maximum(before, metrics.SMALLEST)) if self.log else before
            mean = before.mean(1)
            out[:, k] = np.exp(mean) if self.log else mean
        return out[:, 1:]

    def estimate(self, scores: Array) -> Estimate:
        """Returns the interquartile mean over seeds with its interval."""
        return metrics.interval(scores, log=self.log)

    def cell(self, scores: Array) -> str:
        """Returns the same as a cell of a table, a dash where it is unknown."""
        known = np.size(scores) and np.isfinite(scores).all()
        return self.estimate(scores).text() if known else "–"


def of(run: Run) -> tuple[Component, ...]:
    """Returns the components of an agent, by what its run has measured."""
    found = []
    if run.measures:
        measure = run.measures[0]
        found.append(
            Component(
                "world model",
                measure.left_name,
                lambda one: measure.left_of(one.met(measure.quantity)),
                measure.log,
            )
        )
    return (
        *found,
        Component("generator", "share of pairs met that are dreamt", dreamt),
        Component("policy", "share of its return kept", returns_kept),
    )


def dreamt(run: Run) -> Array:
    """Returns [k, j]: share of the pairs met in task j that the generator dreams of after task k.

    NaN without a generator, or where nobody can say which dreams are right.
    """
    names = [f"dream/met-{task}/coverage" for task in run.tasks]
    out = np.full((len(run.tasks), len(run.tasks)), np.nan)
    for k, row in enumerate(run.audit):
        known = [row.get(name) for name in names[: k + 1]]
        out[k, : k + 1] = [np.nan if value is None else value for value in known]
    return out


def returns_kept(run: Run) -> Array:
    """Returns [k, j]: return on task j after task k, as a share of that at the task's own end."""
    return metrics.since_own_end(run.performance())
