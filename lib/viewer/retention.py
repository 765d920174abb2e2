"""Shows what an agent still knows: where its world model errs, and what its dreams cover.

    viewer.retention("outputs/drago-grid-quick-s0")

Letters: K tasks, S states, A actions.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from lib.analysis import results
from lib.analysis.measures import ACCURACY, ERROR, Measure
from lib.core.errors import UserError
from lib.plotting import maps
from lib.plotting.charts import VERMILION, literal
from lib.viewer.base import DPI, Dial, View, in_words, png

MAPS = {
    "accuracy": "right-cell accuracy",
    "error": ERROR.axis,
    "plans": "phantom plans",
    "dreams": "what is dreamt of",
}
FLOOR = 1e-8  # of errors on a map: smaller ones look alike


class Retention(View):
    """Shows maps after every task beside a table of what is known of each task's transitions.

    Args:
        tasks: K names in the order learnt.
        known: (K, K) [k, j]: what the world model knows after task k of task j; NaN for j > k.
        measure: what these numbers are.
        cells: (cells, 2) free cells of the grid; None where the world has no map.
        right: (K, S, A) whether a prediction is right after each task.
        error: (K, S, A) its squared error.
        met: (K, S, A) transitions met in each task.
        excess: (K, S) what the task just learnt promises of the best plan beyond what it pays.
        phantom: (K, S) bool, plans of which that is so by a margin: see `lib.core.plans`.
        right_ahead: (K,) right-cell accuracy at the end of the plans; of these states alone.
        dreamt: (K, S, A) number of dreams that fell on each transition; None without a generator.
        title: above everything.

    Raises:
        UserError: not as many of one as of the other.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        known: ArrayLike,
        measure: Measure = ACCURACY,
        *,
        cells: ArrayLike | None = None,
        right: ArrayLike | None = None,
        error: ArrayLike | None = None,
        met: ArrayLike | None = None,
        excess: ArrayLike | None = None,
        phantom: ArrayLike | None = None,
        right_ahead: ArrayLike | None = None,
        dreamt: ArrayLike | None = None,
        title: str = "",
    ):
        self.tasks, self.known, self.measure = list(tasks), np.asarray(known, float), measure
        self.cells, self.title = cells, title
        given = {"accuracy": right, "error": error, "plans": excess, "dreams": dreamt}
        self.maps = {name: np.asarray(rows) for name, rows in given.items() if rows is not None}
        self.met = None if met is None else np.asarray(met, bool)
        self.phantom = None if phantom is None else np.asarray(phantom, bool)
        self.right_ahead = right_ahead
        count = len(self.tasks)
        shapes = {"known": (self.known.shape, (count, count))}
        shapes |= {name: (rows.shape[:1], (count,)) for name, rows in self.maps.items()}
        for name, (found, wanted) in shapes.items():
            if found != wanted:
                raise UserError(f"'{name}' has shape {found}, wanted {wanted}: {count} tasks")
        needs = (dreamt is not None or excess is not None) and met is None
        if cells is None or needs or (excess is not None and phantom is None):
            self.maps = {}
        dials = [Dial("after task", tuple(f"{i + 1}: {name}" for i, name in enumerate(tasks)))]
        if len(self.maps) > 1:
            dials.append(Dial("map", tuple(MAPS[name] for name in self.maps)))
        super().__init__(*dials)

    def caption(self, after: int, shown: int = 0) -> str:
        """Returns what a picture shows, in words."""
        values = [
            f"{task} {self.measure.value(self.known[after, j])}"
            for j, task in enumerate(self.tasks[: after + 1])
        ]
        words = f"after {self.tasks[after]}: {self.measure.name} on {', '.join(values)}"
        if not self.maps:
            return words
        if (kind := list(self.maps)[shown]) != "plans":
            return f"{words}; map: {MAPS[kind]}"
        acted = self._acted(after)
        found, states = int(self.phantom[after][acted].sum()), int(acted.sum())
        told = f"map: {found} of {states} states met have a phantom plan"
        if self.right_ahead is not None and np.isfinite(self.right_ahead[after]):
            told += f"; at a plan's end {self.right_ahead[after]:.0%} of cells are right"
        return f"{words}; {told}"

    def _acted(self, after: int) -> np.ndarray:
        """Returns (S,) bool, the states met in a task."""
        return self.met[after].any(-1)

    def draw(self, after: int, shown: int = 0) -> bytes:
        """Draws a map on the left, the table on the right."""
        figure = Figure(figsize=(7.6 if self.maps else 4.6, 3.9), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        if self.maps:
            left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
            self._map(left, after, list(self.maps)[shown])
        else:
            right = figure.subplots()
        self._table(right, after)
        if self.title:
            figure.suptitle(literal(self.title), fontsize=11)
        canvas.draw()
        return png(np.asarray(canvas.buffer_rgba()))

    def static(self) -> np.ndarray:
        """Draws a row of maps for each kind, one map a task, and the table; returns all axes."""
        import matplotlib.pyplot as plt  # leaves the figure to the notebook, which shows it

        count, kinds = len(self.tasks), [name for name in self.maps if name != "error"]
        if not kinds:
            figure, ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
            self._table(ax, None)
            return np.array([ax])
        size = (2.5 * count + 2.6, 3.0 * len(kinds))
        figure, axes = plt.subplots(
            len(kinds), count + 1, figsize=size, layout="constrained", squeeze=False
        )
        for row, kind in zip(axes, kinds, strict=True):
            for k, ax in enumerate(row[:-1]):
                self._map(ax, k, kind, alone=False)
            row[-1].axis("off")
        axes[0, -1].axis("on")
        self._table(axes[0, -1], None)
        if "dreams" in kinds:
            patches = maps.kind_patches(maps.COVERAGE)
            where = {"loc": "outside lower center", "ncols": len(patches), "frameon": False}
            figure.legend(handles=patches, fontsize=9, **where)
        if self.title:
            figure.suptitle(literal(self.title), fontsize=11)
        return axes.ravel()

    def _map(self, ax: Axes, after: int, kind: str, alone: bool = True) -> None:
        """Draws a map; one of several in a figure leaves out what is said once for all of them."""
        values, title = self.maps[kind][after], f"after {self.tasks[after]}"
        if kind == "dreams":
            known = self.met[: after + 1].any(0)
            maps.coverage_map(self.cells, known, values, f"dreamt {title}", ax, legend=alone)
            for text in ax.get_legend().get_texts() if alone else ():
                text.set_fontsize(7)
        elif kind == "plans":
            shown = np.where(self._acted(after), values, np.nan)
            high = max(float(np.nanmax(self.maps["plans"], initial=0)), 1e-6)
            scale, title = Normalize(0, high), f"plans {title}"
            phantom = self.phantom[after]
            maps.plans_map(self.cells, shown, phantom, title, scale, colorbar=alone, ax=ax)
        elif kind == "error":
            cell = np.maximum(maps.per_cell(values), FLOOR)
            high = max(float(self.maps[kind].max()), 10 * FLOOR)
            maps.grid_map(self.cells, cell, ERROR.axis, title, LogNorm(FLOOR, high), ax=ax)
        else:
            scale, label = Normalize(0, 1), MAPS[kind]
            maps.grid_map(self.cells, values, label, title, scale, colorbar=alone, ax=ax)

    def _table(self, ax: Axes, after: int | None) -> None:
        """Draws [k, j] as colours and numbers, and frames the row looked at."""
        count, shown = len(self.tasks), np.ma.masked_invalid(self.known)
        norm = Normalize(0, 1)
        if self.measure.log and shown.count():
            low = max(float(shown.min()), FLOOR)
            norm = LogNorm(low, max(float(shown.max()), 10 * low))  # so that nothing looks dramatic
        better = "cividis" if self.measure.higher_is_better else "cividis_r"
        ax.imshow(shown, cmap=better, norm=norm, aspect="auto")
        for (k, j), value in np.ndenumerate(self.known):
            if np.isfinite(value):
                bright = norm(value) > 0.6
                dark = bright if self.measure.higher_is_better else not bright
                color = "black" if dark else "white"
                ax.text(j, k, self.measure.value(value), ha="center", va="center", color=color)
        tasks = [*map(literal, self.tasks)]
        ax.set_xticks(range(count), tasks, rotation=30, ha="right", fontsize=8)
        ax.set_yticks(range(count), tasks, fontsize=8)
        ax.set_xlabel(f"{self.measure.of} task", fontsize=9)
        ax.set_ylabel("after task", fontsize=9)
        ax.set_title(self.measure.axis, fontsize=10)
        ax.spines[:].set_visible(False)
        if after is not None:
            frame = {"fill": False, "edgecolor": VERMILION, "linewidth": 2.5}
            ax.add_patch(Rectangle((-0.5, after - 0.5), after + 1, 1, **frame))


def of_run(folder: str | Path) -> Retention:
    """Returns the view of a finished run, from what it measured after every task.

    Raises:
        UserError: no finished run, or one without such measurements.
    """
    run = results.load_run(str(folder))
    if not run.audit or not run.measures:
        raise UserError(f"run '{folder}' measured nothing about its world model")
    measure = run.measures[0]
    arrays = [run.audit_arrays(k) for k in range(len(run.tasks))]
    named = {}
    if all("right" in found for found in arrays):
        named = {
            "cells": arrays[0]["cells"],
            "right": np.stack([found["right"] for found in arrays]),
            "error": np.stack([found["error"] for found in arrays]),
            "met": arrays[-1]["met"],
        } | _plans(run, arrays)
        if all("dream_count" in found for found in arrays):
            named["dreamt"] = np.stack([found["dream_count"] for found in arrays])
    title = f"{run.name}: what its world model knows"
    return Retention(run.tasks, run.met(measure.quantity), measure, title=title, **named)


def _plans(run: results.Run, arrays: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns what was found of each task's plans when it had been learnt; {} in older runs."""
    keys = [(f"plans_excess_{k}", f"plans_phantom_{k}") for k in range(len(arrays))]
    if not all(set(pair) <= set(found) for pair, found in zip(keys, arrays, strict=True)):
        return {}
    pairs = [[found[key] for key in pair] for pair, found in zip(keys, arrays, strict=True)]
    excess, phantom = (np.stack(part) for part in zip(*pairs, strict=True))
    ahead = [
        found[f"plans_right_{k}"][found["met"][k].any(-1), -1].mean()
        for k, found in enumerate(arrays)
    ]
    return {"excess": excess, "phantom": phantom, "right_ahead": np.array(ahead)}


@in_words
def retention(folder: str | Path) -> Retention:
    """Shows what a finished run's agent still knows, for the last line of a cell."""
    return of_run(folder)
