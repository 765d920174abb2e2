"""Shows a planner at work: what it tried at every step, by iteration, and what it kept.

    tried = viewer.Recorder()
    plan = planning.categorical_plan(score, z, noise, cfg, trace=tried)
    viewer.planning(tried.searches, paths, walked)

Letters: T decisions, I iterations of a search, N candidates, K elites, h steps of the horizon.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike
from torch import Tensor

from lib.core.errors import UserError
from lib.plotting.charts import BLACK, BLUE, ORANGE, VERMILION, literal
from lib.plotting.maps import grid_background
from lib.viewer.base import DPI, Dial, View, in_words, png

MOST = 120  # candidates drawn of a search; more would hide each other
AT_ONCE = 4  # iterations side by side on paper
EDGE = 3  # percent of all points that may lie beyond each edge of the picture
OTHERS = "0.75"  # candidates that were not kept: light grey


class Search(NamedTuple):
    """Holds the search of one decision."""

    candidates: np.ndarray  # (I, N, h, A) action sequences
    scores: np.ndarray  # (I, N), larger is better
    elites: np.ndarray  # (I, K) indices of the best among the candidates, the best first


class Recorder:
    """Remembers the searches of a planner that it is handed to as `trace`.

    Of several states planned for at once it keeps the first. Guides of a policy come after the
    planner's own candidates.
    """

    def __init__(self) -> None:
        self._iterations: list[list[tuple[np.ndarray, ...]]] = []

    def __call__(self, iteration: int, candidates: Tensor, scores: Tensor, elites: Tensor) -> None:
        if iteration == 0:
            self._iterations.append([])
        kept = (part[0].detach().cpu().numpy() for part in (candidates, scores, elites))
        self._iterations[-1].append(tuple(kept))

    @property
    def searches(self) -> list[Search]:
        """Returns one for every decision so far."""
        return [Search(*map(np.stack, zip(*seen, strict=True))) for seen in self._iterations]


class Planning(View):
    """Shows candidates and elites of every iteration at every step.

    Args:
        searches: T decisions.
        paths: per decision (I, N, h + 1, 2), where each candidate would lead, x and y; from
            where the agent is.
        walked: (T + 1, 2) where it went.
        cells: (cells, 2) free cells of a grid that is drawn behind; None: nothing is.
        marks: short text -> (x, y).
        labels: of x and y; of a grid they are left out.
        title: above everything.

    Raises:
        UserError: nothing was searched, or not as many paths or positions as decisions.
    """

    def __init__(
        self,
        searches: Sequence[Search],
        paths: Sequence[ArrayLike],
        walked: ArrayLike,
        *,
        cells: ArrayLike | None = None,
        marks: Mapping[str, Sequence[float]] | None = None,
        labels: tuple[str, str] = ("x", "y"),
        title: str = "",
    ):
        self.searches, self.walked = list(searches), np.asarray(walked, float)
        self.paths = [np.asarray(path, float) for path in paths]
        if not self.searches:
            raise UserError("no search was recorded; hand a Recorder to the planner as `trace`")
        if not len(self.searches) == len(self.paths) == len(self.walked) - 1:
            raise UserError(
                f"{len(self.searches)} searches, {len(self.paths)} sets of paths and "
                f"{len(self.walked)} positions; give a set for every search, and a position more"
            )
        for search, path in zip(self.searches, self.paths, strict=True):
            if path.shape[:2] != search.scores.shape or path.shape[-1] != 2 or path.ndim != 4:
                raise UserError(
                    f"paths {path.shape} do not fit scores {search.scores.shape}; "
                    "they are (iterations, candidates, h + 1, 2)"
                )
        self.cells, self.marks = cells, dict(marks or {})
        self.labels, self.title = labels, title
        last = min(len(search.scores) for search in self.searches)
        super().__init__(
            Dial("step", tuple(map(str, range(len(self.searches))))),
            Dial("iteration", tuple(str(i + 1) for i in range(last))),
        )
        shown = np.concatenate([self.walked, *(path.reshape(-1, 2) for path in self.paths)])
        near = np.nanpercentile(shown, [EDGE, 100 - EDGE], axis=0)  # a few wild ones may leave
        low, high = np.minimum(near[0], self.walked.min(0)), np.maximum(near[1], self.walked.max(0))
        room = 0.05 * (high - low) + 1e-6
        self.low, self.high = low - room, high + room

    def caption(self, step: int, iteration: int) -> str:
        """Returns what a picture shows, in words."""
        search = self.searches[step]
        scores, elites = search.scores[iteration], search.elites[iteration]
        return (
            f"step {step}, iteration {iteration + 1} of {len(search.scores)}: {len(scores)} "
            f"candidates score {scores.mean():.3g} on average, the {len(elites)} elites "
            f"{scores[elites].mean():.3g}, the best {scores.max():.3g}"
        )

    def draw(self, step: int, iteration: int) -> bytes:
        """Draws paths on the left, the scores of all iterations on the right."""
        figure = Figure(figsize=(7.2, 3.6), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
        if self.title:
            figure.suptitle(literal(self.title), fontsize=11)
        self._paths(left, step, iteration)
        self._scores(right, step, iteration)
        _legend(figure)
        canvas.draw()
        return png(np.asarray(canvas.buffer_rgba()))

    def static(self) -> np.ndarray:
        """Draws the first decision: some of its iterations side by side, and their scores."""
        import matplotlib.pyplot as plt  # leaves the figure to the notebook, which shows it

        count = min(AT_ONCE, len(self.dials[1]))
        chosen = np.linspace(0, len(self.dials[1]) - 1, count).round().astype(int)
        figure, axes = plt.subplots(
            1, count + 1, figsize=(2.5 * (count + 1), 3.2), layout="constrained"
        )
        for ax, iteration in zip(axes, chosen, strict=False):
            self._paths(ax, 0, int(iteration))
            ax.set_title(f"step 0, iteration {iteration + 1}", fontsize=10)
        self._scores(axes[-1], 0, None)
        if self.title:
            figure.suptitle(literal(self.title), fontsize=11)
        _legend(figure)
        return axes

    def _paths(self, ax: Axes, step: int, iteration: int) -> None:
        search, paths = self.searches[step], self.paths[step][iteration]
        elites = search.elites[iteration]
        others = np.setdiff1d(np.arange(len(paths)), elites)
        others = others[:: max(1, -(-len(others) // MOST))]
        if self.cells is not None:
            grid_background(self.cells, ax)
            size = int(np.asarray(self.cells).max()) + 2
            ax.set_xlim(-0.5, size - 0.5)
            ax.set_ylim(size - 0.5, -0.5)
        else:
            ax.set_xlim(self.low[0], self.high[0])
            ax.set_ylim(self.low[1], self.high[1])
            ax.set_xlabel(literal(self.labels[0]), fontsize=9)
            ax.set_ylabel(literal(self.labels[1]), fontsize=9)
            ax.tick_params(labelsize=8)
        for kind, color, width in ((others, OTHERS, 0.6), (elites[::-1], BLUE, 1.0)):
            ax.add_collection(LineCollection(paths[kind], colors=color, linewidths=width, zorder=3))
        ax.plot(*paths[elites[0]].T, "-", color=VERMILION, linewidth=2, zorder=4)
        ax.plot(*self.walked[: step + 1].T, ".-", color=BLACK, linewidth=1.2, zorder=5)
        ax.plot(*self.walked[step], "o", color=ORANGE, markeredgecolor=BLACK, zorder=6)
        for text, (x, y) in self.marks.items():
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0.6}
            ax.text(x, y, text, ha="center", va="center", fontsize=8, bbox=box, zorder=5.5)

    def _scores(self, ax: Axes, step: int, now: int | None) -> None:
        """Draws every candidate's score in every iteration, and marks the one looked at."""
        search = self.searches[step]
        for i, (scores, elites) in enumerate(zip(search.scores, search.elites, strict=True)):
            spread = np.linspace(-0.28, 0.28, len(scores))
            ax.plot(i + 1 + spread, scores, ".", color=OTHERS, markersize=3)
            ax.plot(i + 1 + spread[elites], scores[elites], ".", color=BLUE, markersize=4)
            ax.plot(
                i + 1 + spread[elites[0]], scores[elites[0]], "o", color=VERMILION, markersize=4
            )
        if now is not None:
            ax.axvspan(now + 0.55, now + 1.45, color="0.93", zorder=0)
        ax.set_xticks(np.arange(len(search.scores)) + 1)
        ax.set_xlabel("iteration", fontsize=9)
        ax.set_ylabel("score", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)


@in_words
def planning(*args: Any, **kwargs: Any) -> Planning:
    """Returns a `Planning` for the last line of a cell."""
    return Planning(*args, **kwargs)


def _legend(figure: Figure) -> None:
    kinds = (("candidates", OTHERS), ("elites", BLUE), ("the best", VERMILION), ("walked", BLACK))
    handles = [Line2D([], [], color=color, linewidth=2) for _, color in kinds]
    where = {"loc": "outside lower center", "ncols": len(kinds), "frameon": False}
    figure.legend(handles, [name for name, _ in kinds], fontsize=8, **where)
