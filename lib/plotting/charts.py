"""Draws figures: arrays in, matplotlib axes out.

Every function draws on the axes it is given, or on new ones, and returns them. No global style
is changed. Colours are Okabe and Ito's, which colour-blind readers tell apart; a method has the
same colour, dash and marker in every figure. Maps of the grid are in `lib.plotting.maps`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike

from lib.core import metrics
from lib.core.errors import UserError
from lib.core.files import replacing
from lib.core.storage import told_to_the_user

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE, BLACK, GREY = "#0072B2", "#D55E00", "#CC79A7", "#000000", "#7A7A7A"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)

LONG = 1e5  # env steps from which an axis says 100k and 1M
Legend = Literal["beside", "below", "figure", ""]
BELOW = -0.24  # height of the axes: where a legend below clears ticks and label
SHORT = 12  # letters of a label that fits beside others
PUBLISHED_LOOKS = (("-", "o"), ("--", "^"), (":", "s"))  # dash and hollow mark, in this order

# Ablations share their method's hue and differ in dash and marker.
METHOD_STYLE = {
    "drago": (BLUE, "-", "o"),
    "drago-no-rehearsal": (BLUE, "--", "^"),
    "drago-no-review": (BLUE, ":", "v"),
    "tdmpc": (VERMILION, "-", "s"),
    "ewc": (ORANGE, "-", "D"),
    "curiosity": (PURPLE, "-", "P"),
    "stored-replay": (GREEN, "-", "X"),
    "pseudo-rehearsal": (SKY, "-", "p"),
    "scratch": (BLACK, ":", "."),
    "multitask": (GREY, "-.", "*"),
}


def style(label: str, position: int = 0) -> dict[str, str]:
    """Returns colour, dash and marker: the method's own, or the cycle's for any other label."""
    name = label.split(" ")[0]
    if name in METHOD_STYLE and name == label:
        color, dash, marker = METHOD_STYLE[name]
    else:
        color, dash, marker = CYCLE[position % len(CYCLE)], "-", "osD^vPXp"[position % 8]
    return {"color": color, "linestyle": dash, "marker": marker}


def new_axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    """Returns the axes given, or the only axes of a new figure of that size [inches]."""
    return plt.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax


def save(ax: Axes, path: str | Path) -> None:
    """Writes the whole figure that the axes belong to as a PNG of 100 dots per inch.

    Raises:
        StorageError: it could not be written; the picture that was there before is untouched.
    """
    path = Path(path)
    with told_to_the_user(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        ax.figure.savefig(partial, format="png", dpi=100, bbox_inches="tight")


def literal(text: object) -> str:
    """Returns text that matplotlib shows as it is, as names that come from outside must be.

    Otherwise two dollars would begin a formula, and a leading underscore hide a line from legends.
    """
    shown = str(text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def framed(ax: Axes, title: str, xlabel: str, ylabel: str, grid: Literal["x", "y"] = "y") -> Axes:
    """Gives axes their words, and lines across in one direction; returns them."""
    ax.set_title(literal(title), fontsize=11)
    ax.set_xlabel(literal(xlabel), fontsize=10)
    ax.set_ylabel(literal(ylabel), fontsize=10)
    ax.tick_params(labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=grid, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def legend_apart(ax: Axes, where: Legend = "beside") -> None:
    """Draws a legend that covers no line.

    Args:
        where: to the right of the axes, below them, or to the right of the whole figure, whose
            panels show the same labels; "" draws none.
    """
    handles, labels = ax.get_legend_handles_labels()
    look = {"fontsize": 9, "frameon": False}
    if where == "figure":
        ax.figure.legend(handles, labels, loc="outside right upper", **look)
    elif where == "beside":
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), **look)
    elif where == "below":
        anchor = {"loc": "upper center", "bbox_to_anchor": (0.5, BELOW)}
        ax.legend(ncols=1 if max(map(len, labels)) > SHORT else len(labels), **anchor, **look)


def _wrapped(names: Sequence[str]) -> list[str]:
    """Returns names for the ticks of an axis, the long ones on several lines."""
    return [literal(fill(name, 10)) for name in names]


def _bundle(
    ax: Axes, x: ArrayLike, seeds: ArrayLike, label: str, position: int, log: bool = False
) -> None:
    """Draws the interquartile mean with its interval; with too few seeds, the seeds themselves."""
    x, seeds = np.asarray(x, float), np.atleast_2d(np.asarray(seeds, float))
    look = style(label, position)
    point, low, high = metrics.interval_curve(seeds, log=log)
    every = max(1, len(x) // 8)
    ax.plot(x, point, label=literal(label), markersize=5, markevery=every, linewidth=1.8, **look)
    if np.isfinite(low).any():
        ax.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
    elif len(seeds) > 1:
        ax.plot(x, seeds.T, color=look["color"], alpha=0.4, linewidth=0.8)


def learning_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    optimum: float | None = None,
    title: str = "",
    legend: Legend = "beside",
    ax: Axes | None = None,
    optimum_name: str = "exact optimum",
) -> Axes:
    """Draws the evaluation return against environment steps, with the optimum as the 100 % line.

    Args:
        curves: label -> env steps (points,) and returns (seeds, points). Three seeds or more
            get a 95 % bootstrap band; fewer are drawn one by one.
        optimum: the return that counts as 100 % [task units], drawn as a dashed line when known.
        legend: see `legend_apart`.
        optimum_name: of that line, `Yardstick.name`.
    """
    ax = new_axes(ax, (6.6, 3.6))
    for position, (label, (steps, returns)) in enumerate(curves.items()):
        _bundle(ax, steps, returns, label, position)
    if optimum is not None and np.isfinite(optimum):
        ax.axhline(optimum, color=BLACK, linestyle="--", linewidth=1, label=literal(optimum_name))
    if ax.dataLim.ymin >= 0:
        ax.set_ylim(bottom=0)
    framed(ax, title, "environment steps in this task", "mean return (undiscounted)")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    if ax.dataLim.xmax >= LONG:
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    legend_apart(ax, legend)
    return ax


def beside_published(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    published: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draws our learning curves over published ones, however much longer those are.

    Environment steps are on a logarithmic axis, so that a short curve of ours stays readable and
    equal steps stay above each other. What was measured at step 0 cannot be drawn on it.

    Args:
        curves: label -> env steps (points,) and returns (seeds, points), as `learning_curves`.
        published: label -> env steps (points,), mean and standard deviation of the return; drawn
            in grey with hollow marks, so that nothing grey is ours.
    """
    ax = new_axes(ax, (5.5, 3.6))
    for position, (label, columns) in enumerate(published.items()):
        later = np.asarray(columns[0]) > 0
        points = [np.asarray(column, float)[later] for column in columns]
        dash, mark = PUBLISHED_LOOKS[position % len(PUBLISHED_LOOKS)]
        line = {"color": "0.6", "linestyle": dash, "linewidth": 1.2, "zorder": 1.5}
        marks = {"marker": mark, "markersize": 4.5, "markerfacecolor": "white"}
        ax.errorbar(*points, ecolor="0.8", elinewidth=1.0, label=literal(label), **line, **marks)
    for position, (label, (steps, returns)) in enumerate(curves.items()):
        later = np.asarray(steps) > 0
        if later.any():
            _bundle(ax, np.asarray(steps)[later], np.asarray(returns)[:, later], label, position)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_ylim(bottom=0)
    return framed(ax, title, "environment steps in this task", "mean return (undiscounted)")


def retention_curves(
    curves: Mapping[str, ArrayLike],
    title: str = "",
    ylabel: str = "right-cell accuracy",
    first: int = 1,
    ax: Axes | None = None,
    log: bool = False,
    legend: Legend = "beside",
) -> Axes:
    """Draws what the world model knows after each further task.

    Args:
        curves: label -> (seeds, boundaries), the first boundary being the end of task `first`.
            Values lie between 0 and 1, or are positive with `log`.
        ylabel: what is drawn, `Measure.axis`.
        log: logarithmic axis, and averages over seeds of the logarithm.
    """
    ax = new_axes(ax, (6.6, 3.6))
    last = first
    for position, (label, values) in enumerate(curves.items()):
        values = np.atleast_2d(np.asarray(values, float))
        boundaries = np.arange(first, first + values.shape[1])
        last = max(last, boundaries[-1])
        _bundle(ax, boundaries, values, label, position, log)
    if log:
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        room = max(
            1.0, (10 * low / high) ** 0.5
        )  # a decade at least, so that nothing looks dramatic
        ax.set_ylim(low / room, high * room)
    else:
        ax.set_ylim(0, 1.03)
    ax.set_xticks(np.arange(first, last + 1))
    ax.set_xlim(first - 0.15, last + 0.15)
    framed(ax, title, "tasks learnt", ylabel)
    legend_apart(ax, legend)
    return ax


def series(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    xlabel: str,
    ylabel: str,
    title: str = "",
    log: bool = False,
    boundaries: Sequence[float] = (),
    legend: Legend = "beside",
    ax: Axes | None = None,
) -> Axes:
    """Draws plain lines, for losses and other logged quantities.

    Args:
        curves: label -> x and y (points,); NaN leaves a gap, as between two tasks.
        boundaries: task switches, drawn as dotted lines.
    """
    ax = new_axes(ax, (6.6 if len(curves) > 1 else 5.5, 3.6))
    for position, (label, (x, y)) in enumerate(curves.items()):
        look = style(label, position) | {"marker": ""}
        ax.plot(np.asarray(x), np.asarray(y), label=literal(label), linewidth=1.5, **look)
    for boundary in boundaries:
        ax.axvline(boundary, color=GREY, linestyle=":", linewidth=1)
    if log:
        ax.set_yscale("log")
    framed(ax, title, xlabel, ylabel)
    if len(curves) > 1:
        legend_apart(ax, legend)
    return ax


def composition(
    steps: ArrayLike,
    shares: Mapping[str, ArrayLike],
    title: str = "What the replay holds",
    boundaries: Sequence[float] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draws stacked shares of a replay over the run, one band per task.

    Args:
        steps: (N,) env steps of the whole run.
        shares: task to (N,) shares of stored steps, which add up to 1.
        boundaries: task switches [env steps].
    """
    ax = new_axes(ax, (5.5, 3.2))
    colours = [CYCLE[k % len(CYCLE)] for k in range(len(shares))]
    ax.stackplot(
        np.asarray(steps),
        [np.asarray(share) for share in shares.values()],
        labels=list(shares),
        colors=colours,
        alpha=0.75,
    )
    for boundary in boundaries:
        ax.axvline(boundary, color=BLACK, linestyle=":", linewidth=1)
    ax.set_ylim(0, 1)
    framed(ax, title, "environment steps of the whole run", "share of stored steps")
    legend_apart(ax)
    return ax


def return_matrix(
    matrix: ArrayLike,
    tasks: Sequence[str],
    title: str = "",
    label: str = "share of the optimum",
    colorbar: bool = True,
    ax: Axes | None = None,
    xlabel: str = "on task",
    ylabel: str = "after task",
) -> Axes:
    """Draws a (tasks, tasks) matrix in [0, 1] as a heat map: rows after a task, columns on one."""
    matrix = np.asarray(matrix, float)
    ax = new_axes(ax, (1.3 + 0.95 * len(tasks), 0.9 + 0.75 * len(tasks)))
    image = ax.imshow(np.ma.masked_invalid(matrix), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            ink = "black" if value > 0.55 else "white"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=10)
    ax.set_xticks(range(len(tasks)), _wrapped(tasks), fontsize=9)
    ax.set_yticks(range(len(tasks)), _wrapped(tasks), fontsize=9)
    ax.set_xlabel(literal(xlabel), fontsize=10)
    ax.set_ylabel(literal(ylabel), fontsize=10)
    ax.set_title(literal(title), fontsize=11)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if colorbar:
        bar = ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.03)
        bar.set_label(literal(label), fontsize=9)
        bar.ax.tick_params(labelsize=9)
    return ax


def return_bars(
    tasks: Sequence[str],
    returns: Mapping[str, ArrayLike],
    optimum: ArrayLike,
    title: str = "",
    ax: Axes | None = None,
    optimum_name: str = "exact optimum",
) -> Axes:
    """Draws each task's return when its own training ended, beside what counts as 100 %.

    Args:
        returns: label -> (seeds, tasks) [task units].
        optimum: (tasks,), NaN where unknown.
        optimum_name: of that line, `Yardstick.name`.
    """
    ax = new_axes(ax, (1.8 + 1.1 * len(tasks) + 0.25 * len(returns), 3.4))
    width = 0.8 / max(1, len(returns))
    for position, (label, values) in enumerate(returns.items()):
        values = np.atleast_2d(np.asarray(values, float))
        x = np.arange(len(tasks)) - 0.4 + width * (position + 0.5)
        color = style(label, position)["color"]
        hatch = {"--": "//", ":": ".."}.get(style(label, position)["linestyle"])
        ax.bar(
            x,
            values.mean(0),
            width * 0.92,
            color=color,
            label=literal(label),
            hatch=hatch,
            edgecolor="white",
        )
        if len(values) > 1:
            ax.plot(np.tile(x, len(values)), values.ravel(), ".", color=BLACK, markersize=4)
    for index, best in enumerate(np.asarray(optimum, float)):
        if np.isfinite(best):
            name = optimum_name if index == 0 else None
            ax.plot([index - 0.45, index + 0.45], [best, best], "--", color=BLACK, label=name)
    ax.set_xticks(range(len(tasks)), _wrapped(tasks))
    framed(ax, title, "", "mean return (undiscounted)")
    legend_apart(ax)
    return ax


def share_bars(
    groups: Sequence[str],
    shares: Mapping[str, ArrayLike],
    ylabel: str,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draws bars of shares (0 to 1), one cluster per group and one colour per label."""
    ax = new_axes(ax, (1.5 + 0.9 * len(groups), 3.2))
    width = 0.8 / max(1, len(shares))
    for position, (label, values) in enumerate(shares.items()):
        x = np.arange(len(groups)) - 0.4 + width * (position + 0.5)
        ax.bar(
            x, np.asarray(values, float), width * 0.92, color=CYCLE[position], label=literal(label)
        )
    ax.set_xticks(range(len(groups)), [*map(literal, groups)])
    framed(ax, title, "", ylabel)
    legend_apart(ax)
    return ax


def film_rows(
    rows: Mapping[str, ArrayLike],
    labels: Sequence[object],
    title: str = "",
    divide: int = 0,
    xlabel: str = "",
    height: float = 1.0,
) -> np.ndarray:
    """Draws films below each other, one column per moment, such as what was and what was imagined.

    Args:
        rows: name -> (T, height, width, 3) pictures, alike in T.
        labels: T, below the columns.
        divide: columns left of a line, such as those that a model has seen; 0: no line.
        height: of a picture [inches].

    Returns:
        The axes of a new figure, (rows, T).
    """
    films = {name: np.asarray(film) for name, film in rows.items()}
    count = len(labels)
    figure, axes = plt.subplots(
        len(films),
        count,
        figsize=(0.9 + height * count, 0.55 + height * len(films)),
        layout="constrained",
        squeeze=False,
    )
    for line, (name, film) in zip(axes, films.items(), strict=True):
        line[0].set_ylabel(literal(name), fontsize=10)
        for ax, picture in zip(line, film, strict=True):
            ax.imshow(picture)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
    for ax, label in zip(axes[-1], labels, strict=True):
        ax.set_xlabel(literal(label), fontsize=9)
    if 0 < divide < count:
        for line in axes:
            # Between two columns, wherever the layout puts them.
            line[divide].axvline(-0.06, color=VERMILION, linewidth=2, clip_on=False)
            line[divide].spines["left"].set(visible=True, color=VERMILION, linewidth=3)
    if xlabel:
        figure.supxlabel(xlabel, fontsize=10)
    figure.suptitle(literal(title), fontsize=11)
    return axes


def filmstrip(
    frames: ArrayLike,
    times: ArrayLike,
    count: int = 6,
    title: str = "",
    xlabel: str = "env step",
    ax: Axes | None = None,
) -> Axes:
    """Draws some pictures of a film side by side, for pages that play none.

    Args:
        frames: (T+1, height, width, 3) uint8.
        times: (T+1,) when each was taken.
        count: how many are shown, evenly spaced from the first to the last.

    Raises:
        UserError: no frames, or not as many times as frames.
    """
    frames, times = np.asarray(frames), np.asarray(times)
    if not len(frames) or len(frames) != len(times):
        raise UserError(f"{len(frames)} pictures and {len(times)} times; a strip needs one of each")
    count = max(1, min(count, len(frames)))
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    height, width = frames.shape[1:3]
    gap = max(1, width // 48)
    strip = np.full((height, count * (width + gap) - gap, 3), 255, np.uint8)
    for column, index in enumerate(chosen):
        left = column * (width + gap)
        strip[:, left : left + width] = frames[index]
    ax = new_axes(ax, (1.7 * count, 0.5 + 1.7 * height / width))
    ax.imshow(strip)
    centres = np.arange(count) * (width + gap) + (width - 1) / 2
    ax.set_xticks(centres, [f"{time:g}" for time in times[chosen]], fontsize=9)
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(literal(xlabel), fontsize=10)
    ax.set_title(literal(title), fontsize=11)
    return ax
