"""Draws numbers of several groups of runs below each other: seeds, their mean and its interval."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from lib.core import metrics
from lib.plotting.charts import GREY, framed, literal, new_axes, style


def interval_rows(
    values: Mapping[str, ArrayLike],
    title: str = "",
    xlabel: str = "",
    others: Mapping[str, float] | None = None,
    names: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws a row for every label: seeds as dots, the interquartile mean and its interval on top.

    Args:
        values: label -> (seeds,), the first at the top. Fewer than three seeds have no interval.
        others: label -> one number of somebody else's, in grey below them.
        names: write labels beside the rows; False where axes to the left have them.
    """
    others = dict(others or {})
    ax = new_axes(ax, (6.4, 0.8 + 0.38 * (len(values) + len(others))))
    for row, (label, seeds) in enumerate(values.items()):
        numbers, look = np.asarray(seeds, float), style(label, row)
        found = metrics.interval(numbers)
        ax.plot(numbers, np.full(len(numbers), row), "o", color=look["color"], alpha=0.35, ms=5)
        if found.has_interval:
            ax.plot([found.low, found.high], [row, row], color=look["color"], linewidth=2.2)
        ax.plot(found.point, row, "s", color=look["color"], ms=8, mec="white", mew=0.8)
    for row, number in enumerate(others.values(), len(values)):
        ax.plot(number, row, "D", color=GREY, ms=6)
    labels = [literal(label) for label in (*values, *others)] if names else []
    ax.set_yticks(range(len(values) + len(others)), labels or [""] * (len(values) + len(others)))
    ax.set_ylim(len(values) + len(others) - 0.5, -0.5)
    framed(ax, title, xlabel, "", grid="x")
    ax.tick_params("y", length=0)
    return ax
