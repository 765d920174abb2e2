"""Defines what a run's numbers mean and how they are said, for exact worlds and for bodies.

A grid is known exactly: the best possible return is computed, and a prediction is right or wrong.
A simulated body is not: an episode's rewards can add up to at most so much, and predictions only
have errors. Everything that tables, axes and sentences say differently for the two is a value here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lib.core import metrics
from lib.core.errors import unknown
from lib.core.metrics import Array, Estimate


@dataclass(frozen=True)
class Yardstick:
    """Names the return that counts as 100 %."""

    name: str  # of its line in a figure, and in a sentence after "the"
    share: str  # what a return divided by it is called


YARDSTICKS = {
    "exact": Yardstick("exact optimum", "share of the optimum"),
    "ceiling": Yardstick("most an episode can pay", "share of the most an episode can pay"),
}


def yardstick(optimum_is: str) -> Yardstick:
    """Returns what `optimum` in a summary stands for, by the summary's `optimum_is`.

    Raises:
        UserError: a name that is not in `YARDSTICKS`.
    """
    if optimum_is not in YARDSTICKS:
        raise unknown("optimum_is", optimum_is, YARDSTICKS)
    return YARDSTICKS[optimum_is]


@dataclass(frozen=True)
class Measure:
    """Describes one way to say how well a world model predicts one step.

    What is *left* of a task's knowledge compares the number at a later moment with the number when
    that task ended: as a share kept, a factor of growth, or a difference.
    """

    quantity: str  # last part of the audit's metric names
    name: str  # within a sentence or a table's header
    unit: str
    of: str  # "... <of> room-1": which transitions of a task are asked about
    higher_is_better: bool
    log: bool  # spans decades: logarithmic axes, and averages over seeds of the logarithm
    ratio: bool  # what is left is a quotient, else a difference
    form: str  # format of a value
    left: str  # header of a column of what is left
    left_form: str
    left_name: str  # the same in words, before "after room-4"
    verdict: str  # one sentence, with {task}, {left} and {tasks}

    @property
    def axis(self) -> str:
        """Returns the label of an axis."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    def value(self, number: float) -> str:
        """Returns a number as a cell of a table, a dash where it is unknown."""
        return "–" if number != number else format(number, self.form)

    def remains(self, number: float) -> str:
        """Returns what is left as a cell of a table, a dash where it is unknown."""
        return "–" if number != number else format(number, self.left_form)

    def left_of(self, values: Array) -> Array:
        """Returns what is left of each task, (..., tasks, tasks), see `metrics.since_own_end`."""
        return metrics.since_own_end(values, self.ratio)

    def estimate(self, scores: Array) -> Estimate:
        """Returns the interquartile mean and interval over seeds of values, or of what is left."""
        return metrics.interval(scores, log=self.log)

    def cell(self, scores: Array) -> str:
        """Returns the same as a cell of a table, a dash where a number is unknown."""
        known = np.size(scores) and np.isfinite(scores).all()
        return self.estimate(scores).text(self.form) if known else "–"

    def sentence(self, task: str, left: float, tasks: int) -> str:
        """Returns what is left of a task after so many tasks."""
        return self.verdict.format(task=task, left=self.remains(left), tasks=f"{tasks} tasks")

    def ranked(self, estimates: dict[str, Estimate]) -> list[str]:
        """Returns labels, the best first."""
        return sorted(
            estimates, key=lambda label: estimates[label].point, reverse=self.higher_is_better
        )


ACCURACY = Measure(
    quantity="accuracy",
    name="right-cell accuracy",
    unit="",
    of="met in",
    higher_is_better=True,
    log=False,
    ratio=True,
    form=".2f",
    left="kept",
    left_form=".0%",
    left_name="share of that accuracy kept",
    verdict="Of its accuracy on what it met in {task}, the world model keeps {left} after {tasks}.",
)


def _error_of(quantity: str, name: str, unit: str, subject: str) -> Measure:
    """Returns a squared error, or another that spans decades, on what was held out of a task."""
    return Measure(
        quantity=quantity,
        name=name,
        unit=unit,
        of="held out in",
        higher_is_better=False,
        log=True,
        ratio=True,
        form=".3g",
        left="times as large",
        left_form=".3g",
        left_name=f"factor by which that {subject} has grown",
        verdict=f"On what was held out in {{task}}, the world model's {subject} is {{left}} times "
        "as large after {tasks} as it was when {task} ended.",
    )


ERROR = _error_of("mse", "mean squared error", "observation units²", "error")
UNEXPLAINED = Measure(
    quantity="unexplained",
    name="unexplained share of the change",
    unit="",
    of="held out in",
    higher_is_better=False,
    log=True,
    ratio=True,
    form=".3g",
    left="times as large",
    left_form=".3g",
    left_name="factor by which that unexplained share has grown",
    verdict="Of the change in what was held out in {task}, {left} times as much is unexplained "
    "after {tasks} as when {task} ended.",
)
SCORE = Measure(
    quantity="neg_log_mse",
    name="prediction score",
    unit="nats",
    of="held out in",
    higher_is_better=True,
    log=False,
    ratio=False,
    form=".2f",
    left="change",
    left_form="+.2f",
    left_name="change of that score",
    verdict="On what was held out in {task}, the prediction score has changed by {left} nats "
    "after {tasks}.",
)


CELLS = _error_of("cells", "cells of the next view predicted wrongly", "share", "share of errors")
PIXELS = _error_of("pixels", "error of the next image", "colours in 0..1, squared", "error")
SURPRISE = _error_of("surprise", "surprise at the next observation", "nats", "surprise")
REWARD = _error_of("reward_mse", "error of the reward", "reward², as predicted", "reward error")
MEASURES = (ACCURACY, CELLS, PIXELS, ERROR, UNEXPLAINED, SCORE, SURPRISE, REWARD)


def measures_in(names: Iterable[str]) -> tuple[Measure, ...]:
    """Returns the measures that an audit holds, the one to draw first.

    Where predictions are right or wrong, accuracy says it all; the errors that such an audit
    holds too are left out. An audit that holds nothing is an empty audit of a grid.

    Args:
        names: of metrics, such as audit/met-room-1/accuracy.
    """
    held = {name.rpartition("/")[2] for name in names if name.startswith("audit/met-")}
    found = tuple(measure for measure in MEASURES if measure.quantity in held)
    return found if found and ACCURACY not in found else (ACCURACY,)
