"""Shows a reviewer's reward over the grid: its two terms, whom it pays where, who was there.

    viewer.review("outputs/drago-grid-quick-s0", after="room-2")

The first dial is the threshold, the second the moment that is looked at.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lib.analysis import reviewer_reward
from lib.analysis.reviewer_reward import Review
from lib.core.errors import UserError
from lib.plotting import maps
from lib.plotting.charts import literal
from lib.viewer.base import DPI, Dial, View, in_words, png

REACH = 5  # nats that the threshold may be turned to each side of the run's own
NEAR = 0.1  # whole numbers closer to it would be called the same
LEAST = 1e-3  # share of all steps; cells seen less often look alike
PAID = "per transition"
KINDS = ("neither", "paid, never visited", "visited, not paid", "paid and visited")


class Reviewing(View):
    """Shows gain, cost and their difference, both roles' visits, and who was paid where.

    Args:
        found: the moments to look at, of one grid.
        thresholds: positions of the first dial; left out, whole numbers around the run's own.
        marks: short text -> (x, y), for starts and goals.
        title: above everything.

    Raises:
        UserError: no moment, or no threshold.
    """

    def __init__(
        self,
        found: Sequence[Review],
        *,
        thresholds: ArrayLike | None = None,
        marks: Mapping[str, Sequence[int]] | None = None,
        title: str = "",
    ):
        self.found, self.marks, self.title = list(found), dict(marks or {}), title
        if not self.found:
            raise UserError(
                "no review was given; `lib.analysis.reviewer_reward` makes them of models or a run"
            )
        own = self.found[-1].rule.threshold
        around = np.round(own) + np.arange(-REACH, REACH + 1)
        around = around[np.abs(around - own) >= NEAR]
        given = around if thresholds is None else np.atleast_1d(np.asarray(thresholds, float))
        if not given.size or not np.isfinite(given).all():
            raise UserError(f"thresholds {given.tolist()}; give one number at least, all finite")
        self.thresholds = np.unique(np.append(given, own))
        self.own = int(np.flatnonzero(self.thresholds == own)[0])
        super().__init__(
            Dial("threshold", tuple(f"{value:.1f}" for value in self.thresholds), self.own),
            Dial("moment", tuple(one.name for one in self.found), len(self.found) - 1),
        )
        self._stage: _Stage | None = None

    def caption(self, threshold: int, moment: int) -> str:
        """Returns what a picture shows, in words."""
        one, tau = self.found[moment], self.thresholds[threshold]
        paid, seen = one.paid(tau), one.visits.get("reviewer")
        words = f"{one.name}, threshold {tau:.1f}"
        words += " (the run's own)" if threshold == self.own else ""
        words += f": {paid.sum()} of {len(paid)} cells pay"
        if seen is None:
            return words
        return f"{words}, {(paid & (seen > 0)).sum()} of them visited by the reviewer"

    def draw(self, threshold: int, moment: int) -> bytes:
        """Draws six maps."""
        self._stage = self._stage or _Stage(self)
        values = _values(self.found[moment], self.thresholds[threshold])
        return self._stage.draw(values, self.headline(threshold, moment))

    def static(self) -> np.ndarray:
        """Draws the six maps at the run's own threshold, and the reward at three others."""
        import matplotlib.pyplot as plt  # leaves the figure to the notebook, which shows it

        at = self.start
        figure, axes = plt.subplots(3, 3, figsize=(8.6, 8.4), layout="constrained")
        self.maps(list(axes[:2].ravel()), self.found[at[1]], self.thresholds[at[0]])
        others = np.delete(self.thresholds, self.own)
        others = others if len(others) else self.thresholds
        chosen = others[np.linspace(0, len(others) - 1, 5).round().astype(int)[1:4]]
        one, scale = self.found[at[1]], {"norm": Normalize(-1, 1), "cmap": "PuOr_r"}
        for ax, tau in zip(axes[2], chosen, strict=True):
            title, last = f"reward at threshold {tau:.1f}", ax is axes[2, -1]
            maps.grid_map(one.cells, one.reward(tau), PAID, title, colorbar=last, ax=ax, **scale)
            _small(ax)
        _legend(figure)
        figure.suptitle(literal(self.headline(*at)), fontsize=11)
        return axes

    def headline(self, threshold: int, moment: int) -> str:
        """Returns what stands above the maps."""
        own = " (the run's own)" if threshold == self.own else ""
        words = f"{self.found[moment].name}; threshold {self.thresholds[threshold]:.1f}{own}"
        return f"{self.title}: {words}" if self.title else words

    def maps(self, axes: list[Axes], one: Review, tau: float) -> None:
        """Draws gain, cost, reward, the learner's visits, the reviewer's, and a summary."""
        share, seen = Normalize(0, 1), LogNorm(LEAST, 1)
        gain, cost, reward, learner, reviewer, kinds = _values(one, tau)
        cells, marks = one.cells, self.marks
        maps.grid_map(cells, gain, "", "gain: the old model knew it", share, ax=axes[0])
        maps.grid_map(cells, cost, "", "cost: it is still known", share, ax=axes[1])
        title, scale = "reward: gain - cost", {"norm": Normalize(-1, 1), "cmap": "PuOr_r"}
        maps.grid_map(cells, reward, PAID, title, ax=axes[2], **scale)
        for ax, role, values in zip(
            axes[3:5], reviewer_reward.ROLES, (learner, reviewer), strict=True
        ):
            label = "share of its steps"
            maps.grid_map(cells, values, label, f"where the {role} was", seen, marks=marks, ax=ax)
        title = "paid, and the reviewer's visits"
        maps.kind_map(cells, kinds, title, axes[5], marks=marks)
        for ax in axes:
            _small(ax)


class _Stage:
    """Draws once what never changes, and lays the colours of a moment over it."""

    def __init__(self, view: Reviewing):
        figure = Figure(figsize=(8.6, 5.4), dpi=DPI, layout="constrained")
        self.canvas, self.cells = FigureCanvasAgg(figure), view.found[0].cells
        self.axes = list(figure.subplots(2, 3).ravel())
        view.maps(self.axes, view.found[0], view.thresholds[0])
        _legend(figure)
        self.headline = figure.suptitle("A headline", fontsize=11)
        self.moving = [(ax, artist) for ax in self.axes for artist in (ax.images[-1], *ax.texts)]
        for _, artist in self.moving:
            artist.set_animated(True)
        self.headline.set_animated(True)
        self.canvas.draw()
        self.still = self.canvas.copy_from_bbox(figure.bbox)
        figure.set_layout_engine("none")

    def draw(self, values: Sequence[np.ndarray], headline: str) -> bytes:
        self.canvas.restore_region(self.still)
        size = int(self.cells.max()) + 2
        for ax, numbers in zip(self.axes, values, strict=True):
            picture = np.full((size, size), np.nan)
            picture[self.cells[:, 1], self.cells[:, 0]] = numbers
            ax.images[-1].set_data(np.ma.masked_invalid(picture))
        for ax, artist in self.moving:
            ax.draw_artist(artist)
        self.headline.set_text(literal(headline))
        self.canvas.figure.draw_artist(self.headline)
        return png(np.asarray(self.canvas.buffer_rgba()))


def _legend(figure: Figure) -> None:
    where = {"loc": "outside lower right", "ncols": len(KINDS), "frameon": False}
    figure.legend(handles=maps.kind_patches(KINDS), fontsize=8, **where)


def _values(one: Review, tau: float) -> list[np.ndarray]:
    """Returns six numbers per cell, in the order of the maps; NaN where visits are unknown."""
    gain, cost = (maps.per_cell(part) for part in one.parts(tau))
    unknown = np.full(len(one.cells), np.nan)
    shares = []
    for role in reviewer_reward.ROLES:
        times = one.visits.get(role)
        if times is None:
            shares.append(unknown)
        else:
            share = np.asarray(times, float) / max(1, np.sum(times))
            shares.append(np.where(share > 0, np.maximum(share, LEAST), np.nan))
    visited = np.nan_to_num(shares[1]) > 0
    return [gain, cost, gain - cost, *shares, one.paid(tau) + 2.0 * visited]


def _small(ax: Axes) -> None:
    ax.set_title(ax.get_title(), fontsize=9)
    bar = ax.images[-1].colorbar
    if bar:
        bar.ax.tick_params(labelsize=7)
        bar.ax.yaxis.label.set_fontsize(8)


@in_words
def review(
    source: str | Path | Sequence[Review],
    after: str = "",
    *,
    thresholds: ArrayLike | None = None,
    marks: Mapping[str, Sequence[int]] | None = None,
    title: str = "",
) -> Reviewing:
    """Shows the reviewer of a finished run, or of models compared in a chapter; see `Reviewing`.

    Args:
        source: a run's folder, or `lib.analysis.reviewer_reward.compare` of some moments.
        after: of a run, one of its tasks; left out, all that had a reviewer.
    """
    if isinstance(source, str | Path):
        source = reviewer_reward.of_run(source, after)
    elif not (isinstance(source, Sequence) and all(isinstance(one, Review) for one in source)):
        raise UserError(
            f"no reviewer in {source!r}; give a run's folder, or a list of what "
            "lib.analysis.reviewer_reward.compare returns"
        )
    return Reviewing(source, thresholds=thresholds, marks=marks, title=title)
