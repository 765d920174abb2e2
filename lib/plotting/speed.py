"""Draws figures of speed: arrays in, matplotlib axes out, in the manner of `lib.plotting.charts`.

All axes of amounts are logarithmic. What everything is compared with is grey.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from numpy.typing import ArrayLike

from lib.plotting.charts import (
    BLACK,
    BLUE,
    CYCLE,
    GREY,
    VERMILION,
    Legend,
    framed,
    legend_apart,
    literal,
    new_axes,
)


def ratio_bars(
    names: Sequence[str],
    ratios: ArrayLike,
    title: str = "",
    xlabel: str = "times as fast as the plain form",
    ax: Axes | None = None,
) -> Axes:
    """Draws how many times better each of several things is, on a logarithmic axis from 1.

    Args:
        names: (bars,), the first on top.
        ratios: (bars,) above 0; what is below 1 points left, in another colour.
    """
    ratios = np.asarray(ratios, float)
    ax = new_axes(ax, (7.0, 0.9 + 0.27 * len(ratios)))
    rows = np.arange(len(ratios))
    colors = [BLUE if ratio >= 1 else VERMILION for ratio in ratios]
    ax.barh(rows, ratios - 1, 0.72, left=1, color=colors)
    for y, ratio in zip(rows, ratios, strict=True):
        ax.annotate(
            _short(ratio),
            (max(ratio, 1), y),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    _rows(ax, names, title, xlabel)
    ax.set_xlim(min(0.9, 0.8 * ratios.min(initial=1)), max(2.0, 2.2 * ratios.max(initial=1)))
    ax.axvline(1, color=BLACK, linewidth=1)
    return ax


def pair_bars(
    names: Sequence[str],
    pairs: Mapping[str, ArrayLike],
    title: str = "",
    xlabel: str = "",
    aims: Mapping[int, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws values of a few labels side by side for every name, on a logarithmic axis.

    Args:
        names: (rows,), the first on top.
        pairs: label -> (rows,) above 0; NaN leaves a gap.
        aims: number of a row -> the value asked of it, drawn as a black tick.
    """
    ax = new_axes(ax, (7.0, 1.0 + 0.24 * len(names) * max(1, len(pairs))))
    height, labels = 0.8 / max(1, len(pairs)), list(pairs)
    known = np.concatenate([np.asarray(values, float) for values in pairs.values()])
    known = np.append(known[np.isfinite(known)], list((aims or {}).values()))
    start = known.min(initial=np.inf) / 3 if len(known) else 0.1
    for position, label in enumerate(labels):
        values = np.asarray(pairs[label], float)
        y = np.arange(len(names)) - 0.4 + height * (position + 0.5)
        color = _form_color(position, len(labels))
        ax.barh(y, values - start, height * 0.92, left=start, color=color, label=literal(label))
        for where, value in zip(y, values, strict=True):
            if np.isfinite(value):
                text, at = f" {value:,.3g}" if value < 1000 else f" {value:,.0f}", (value, where)
                ax.annotate(text, at, va="center", fontsize=9)
    for index, (row, value) in enumerate((aims or {}).items()):
        name = "asked for" if index == 0 else None
        ax.plot([value, value], [row - 0.45, row + 0.45], color=BLACK, linewidth=2, label=name)
    _rows(ax, names, title, xlabel)
    ax.set_xlim(start, 3 * known.max(initial=start))
    if len(labels) > 1 or aims:
        legend_apart(ax)
    return ax


def _rows(ax: Axes, names: Sequence[str], title: str, xlabel: str) -> None:
    """Draws a logarithmic axis below, names on the left from top to bottom."""
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), [*map(literal, names)])
    ax.set_ylim(len(names) - 0.4, -0.6)
    framed(ax, title, xlabel, "", grid="x")
    ax.xaxis.set_major_formatter(_plainly)


def _plainly(value: float, position: int = 0) -> str:
    """Returns a tick of a logarithmic axis: 0.01, 20, 1,000."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def growth_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    xlabel: str,
    ylabel: str = "milliseconds a call",
    title: str = "",
    legend: Legend = "beside",
    ax: Axes | None = None,
) -> Axes:
    """Draws cost against one setting, both logarithmic, so that proportional growth has slope 1.

    Args:
        curves: label -> values of the setting (points,) and costs (points,), increasing; NaN
            leaves a gap. The first of several is drawn in grey, as in `pair_bars`.
    """
    ax = new_axes(ax, (4.2, 3.2))
    ticks: set[float] = set()
    for position, (label, (x, y)) in enumerate(curves.items()):
        look = {"color": _form_color(position, len(curves)), "marker": "so^D"[position % 4]}
        ax.plot(x, y, label=literal(label), linewidth=1.6, markersize=5, **look)
        ticks |= set(np.asarray(x, float).tolist())
    ax.set_xscale("log")
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    room = max(1.0, (10 * low / high) ** 0.5)  # a decade at least, so that nothing looks dramatic
    ax.set_ylim(low / room, high * room)
    ax.set_xticks(sorted(ticks), [f"{tick:g}" for tick in sorted(ticks)])
    ax.xaxis.set_minor_locator(NullLocator())
    framed(ax, title, xlabel, ylabel, grid="y")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(_plainly)
    ax.yaxis.set_minor_formatter(NullFormatter())
    legend_apart(ax, legend)
    return ax


def _form_color(position: int, many: int) -> str:
    """Returns grey for the first of several, what the others are compared with."""
    return GREY if position == 0 and many > 1 else CYCLE[max(0, position - 1)]


def _short(ratio: float) -> str:
    """Returns a ratio in as many digits as help."""
    return f"{ratio:.2g}" if ratio < 1 else f"{ratio:,.1f}" if ratio < 100 else f"{ratio:,.0f}"
