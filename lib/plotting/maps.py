"""Draws maps of the grid: arrays in, matplotlib axes out, in the manner of `lib.plotting.charts`.

A grid has `cells` (cells, 2), the x and y of every free cell, and 4 * cells states: state
4 * cell + heading. Colours are cividis, a purple-orange scale around 0, or Okabe and Ito's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.patches import Patch, Rectangle
from numpy.typing import ArrayLike, NDArray

from lib.plotting.charts import BLUE, ORANGE, PURPLE, VERMILION, literal, new_axes

WALL, BLOCK = "#4A4A4A", "#DDDDDD"
EXCESS = "promised beyond what is paid [reward]"  # by the plan that looks best


def per_cell(values: ArrayLike) -> NDArray[np.floating]:
    """Returns the mean over the four headings and all actions: (cells * 4, A) to (cells,)."""
    values = np.asarray(values, float)
    return values.reshape(len(values) // 4, -1).mean(1)


def positions(obs: ArrayLike, size: int) -> NDArray[np.floating]:
    """Turns observations (..., 3) in [-1, 1) into x and y in cells (..., 2), or between cells."""
    return (np.asarray(obs, float)[..., :2] + 1) * size / 2


def grid_background(cells: ArrayLike, ax: Axes | None = None) -> Axes:
    """Draws walls dark, blocks grey and free cells white; x to the right, y downwards.

    Args:
        cells: (cells, 2) x, y of every free cell. What is not free is a wall on the border and
            on the middle lines, and a block elsewhere.
    """
    cells = np.asarray(cells)
    size = int(cells.max()) + 2
    kind = np.full((size, size), 2)
    kind[[0, -1, size // 2], :] = kind[:, [0, -1, size // 2]] = 1
    kind[cells[:, 1], cells[:, 0]] = 0
    ax = new_axes(ax, (3.6, 3.6))
    ax.imshow(kind, cmap=ListedColormap(["white", WALL, BLOCK]), vmin=0, vmax=2)
    for y, x in np.argwhere(kind == 2):  # hatched, so that no colour of a map looks like a block
        look = {"facecolor": BLOCK, "edgecolor": WALL, "hatch": "xxxx", "linewidth": 0}
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **look))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_aspect("equal")
    return ax


def _mark(ax: Axes, marks: Mapping[str, Sequence[int]] | None) -> None:
    for text, (x, y) in (marks or {}).items():
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0.6}
        ax.text(x, y, text, ha="center", va="center", fontsize=8, bbox=box)


def grid_map(
    cells: ArrayLike,
    values: ArrayLike,
    label: str,
    title: str = "",
    norm: Normalize | None = None,
    cmap: str = "cividis",
    marks: Mapping[str, Sequence[int]] | None = None,
    colorbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws one number per free cell on the grid.

    Args:
        cells: (cells, 2) x, y.
        values: (cells,) or (cells * 4, A), which is averaged per cell; NaN cells stay white.
        label: of the colour bar, with the unit.
        marks: short text -> (x, y), for starts and goals.
    """
    cells, values = np.asarray(cells), np.asarray(values, float)
    values = per_cell(values) if values.ndim == 2 else values
    ax = grid_background(cells, new_axes(ax, (4.2, 3.6)))
    size = int(cells.max()) + 2
    picture = np.full((size, size), np.nan)
    picture[cells[:, 1], cells[:, 0]] = values
    image = ax.imshow(np.ma.masked_invalid(picture), cmap=cmap, norm=norm)
    _mark(ax, marks)
    ax.set_title(literal(title), fontsize=11)
    if colorbar:
        bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03)
        bar.set_label(literal(label), fontsize=9)
        bar.ax.tick_params(labelsize=9)
    return ax


def boundary_maps(
    cells: ArrayLike,
    values: Sequence[ArrayLike],
    titles: Sequence[str],
    label: str,
    log: bool = False,
    low: float | None = None,
    high: float | None = None,
) -> list[Axes]:
    """Draws one grid map per task boundary, side by side on one colour scale.

    Args:
        values: per boundary (cells * 4, A), for example the world model's squared error.
        log: logarithmic colours, for errors.
        low, high: ends of the scale; the smallest and largest value when not given.
    """
    found = [per_cell(value) for value in values]
    shown = np.concatenate(found)
    shown = shown[np.isfinite(shown) & (shown > 0 if log else True)]
    low = (shown.min() if shown.size else 1e-6) if low is None else low
    high = (shown.max() if shown.size else 1.0) if high is None else high
    norm = LogNorm(low, max(high, low * 1.01)) if log else Normalize(low, high)
    figure, axes = plt.subplots(
        1, len(found), figsize=(2.7 * len(found) + 0.9, 3.1), layout="constrained", squeeze=False
    )
    for ax, value, title in zip(axes[0], found, titles, strict=True):
        value = np.clip(value, low, high) if log else value
        grid_map(cells, value, label, title, norm=norm, colorbar=False, ax=ax)
    bar = figure.colorbar(axes[0, 0].images[-1], ax=list(axes[0]), fraction=0.046, pad=0.02)
    bar.set_label(literal(label), fontsize=9)
    bar.ax.tick_params(labelsize=9)
    return list(axes[0])


def reward_map(
    cells: ArrayLike, reward: ArrayLike, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draws the reviewer's reward per cell on a scale that is white at 0 and ends at -1 and 1."""
    label = "reviewer's reward per transition"
    return grid_map(cells, reward, label, title, norm=Normalize(-1, 1), cmap="PuOr_r", ax=ax)


# What two yes-or-no answers about a cell come to: neither, the first, the second, both.
KINDS = ("#F2F2F2", ORANGE, PURPLE, BLUE)
COVERAGE = ("neither", "met, not dreamt", "dreamt, not met", "met and dreamt")


def kind_map(cells: ArrayLike, kinds: ArrayLike, title: str, ax: Axes, **options: Any) -> Axes:
    """Draws numbers (cells,) of 0 to 3 in the colours of `KINDS`."""
    look = {"norm": Normalize(-0.5, 3.5), "cmap": ListedColormap(KINDS), "colorbar": False}
    return grid_map(cells, kinds, "", title, ax=ax, **look, **options)


def kind_patches(words: Sequence[str]) -> list[Patch]:
    """Returns what a legend of `KINDS` shows beside four texts."""
    pairs = zip(KINDS, words, strict=True)
    return [Patch(facecolor=color, edgecolor="0.6", label=literal(text)) for color, text in pairs]


def coverage_map(
    cells: ArrayLike,
    met: ArrayLike,
    dreamt: ArrayLike,
    title: str = "",
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """Draws which cells the agent met and which the generator dreams of.

    Args:
        met: (cells * 4, A) True where the agent took the action in the state.
        dreamt: (cells * 4, A) number of dreams that landed there.
        legend: below the map, with the share of each kind.
    """
    cells = np.asarray(cells)
    met, dreamt = per_cell(met) > 0, per_cell(dreamt) > 0
    ax = new_axes(ax, (4.0, 4.2))
    kinds = met + 2 * dreamt
    kind_map(cells, kinds, title, ax)
    if not legend:
        return ax
    shares = np.bincount(kinds, minlength=4) / len(cells)
    patches = kind_patches([f"{k}: {share:.0%}" for k, share in zip(COVERAGE, shares, strict=True)])
    where = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.02), "ncols": 2}
    ax.legend(handles=patches, fontsize=9, frameon=False, **where)
    return ax


def plans_map(
    cells: ArrayLike,
    excess: ArrayLike,
    phantom: ArrayLike,
    title: str = "",
    norm: Normalize | None = None,
    colorbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws what the most promising plans are promised beyond what they pay; phantoms are framed.

    Args:
        excess: (cells * 4,) per state, NaN where it does not matter; the worst heading is shown.
        phantom: (cells * 4,) bool, see `lib.core.plans`.
    """
    by_cell = np.asarray(excess, float).reshape(-1, 4)
    known = np.isfinite(by_cell).any(1)
    worst = np.full(len(by_cell), np.nan)
    worst[known] = np.nanmax(by_cell[known], 1)
    ax = grid_map(cells, worst, EXCESS, title, norm, colorbar=colorbar, ax=ax)
    framed = (np.asarray(phantom, bool) & np.isfinite(excess)).reshape(-1, 4).any(1)
    for x, y in np.asarray(cells)[framed]:
        look = {"fill": False, "edgecolor": VERMILION, "linewidth": 1.6}
        ax.add_patch(Rectangle((x - 0.45, y - 0.45), 0.9, 0.9, **look))
    return ax


def trajectories(
    cells: ArrayLike,
    real: Sequence[ArrayLike],
    imagined: Sequence[ArrayLike] = (),
    title: str = "",
    marks: Mapping[str, Sequence[int]] | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draws paths on the grid: what happened (solid) and what the model imagined (dashed).

    Args:
        real, imagined: sequences of (T + 1, 2) x, y positions in cells; imagined ones may fall
            between cells or outside. Several paths of a kind are drawn slightly beside each
            other, so that none hides the next.
    """
    ax = grid_background(cells, new_axes(ax, (4.6, 3.6)))
    looks = ((real, "real", BLUE, "-", "o"), (imagined, "imagined", VERMILION, "--", "x"))
    for paths, label, color, dash, marker in looks:
        for index, path in enumerate(paths):
            x, y = np.asarray(path, float).T + 0.12 * (index - (len(paths) - 1) / 2)
            name = label if index == 0 else None
            line = {"color": color, "linestyle": dash, "marker": marker, "label": name}
            ax.plot(x, y, markersize=4, linewidth=1.6, **line)
    _mark(ax, marks)
    ax.set_title(literal(title), fontsize=11)
    size = int(np.asarray(cells).max()) + 2
    ax.set_xlim(-0.5, size - 0.5)
    ax.set_ylim(size - 0.5, -0.5)
    if legend:
        ax.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax
