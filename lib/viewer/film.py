"""Shows films to step through: pictures side by side, and numbers below that move along.

    from lib import viewer
    viewer.scrub({"imagined": frames}, {"reward": reward, "value": value})

What stays the same on every picture is drawn once, so that a step costs milliseconds.

Letters: T pictures of a film.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from lib.core.errors import UserError
from lib.plotting.charts import BLACK, CYCLE, filmstrip, literal
from lib.viewer.base import DPI, Dial, View, in_words, png

LONGEST = 600  # pictures; more would take minutes to prepare and hundreds of MB
WIDTH, PICTURE, PANEL = 7.2, 2.4, 0.85  # inches: of all, of the largest picture, of a panel
LETTER = 0.085  # inches: about what a letter of a film's name takes
BESIDE = 16  # letters of a film's name that fit beside a strip of its pictures


class Scrubber(View):
    """Shows a film with controls.

    Args:
        frames: name -> (T, height, width, 3) pictures, uint8 or between 0 and 1, shown side by
            side; or one such array; or nothing, where there are series.
        series: name -> (T,) numbers, each drawn in a panel below; NaN leaves a gap.
        captions: a line of text for each picture, T of them or none.
        title: above everything.
        xlabel: what the pictures are counted by.
        stills: pictures of each film that stand for it on paper.

    Raises:
        UserError: no pictures, or not as many of one as of the other.
    """

    def __init__(
        self,
        frames: Mapping[str, ArrayLike] | ArrayLike,
        series: Mapping[str, ArrayLike] | None = None,
        captions: Sequence[str] = (),
        *,
        title: str = "",
        xlabel: str = "step",
        stills: int = 11,
    ):
        films = frames if isinstance(frames, Mapping) else {"": frames}
        self.films = {str(name): _pictures(name, film) for name, film in films.items()}
        self.series = {str(name): _numbers(name, row) for name, row in (series or {}).items()}
        if not (self.films or self.series):
            raise UserError("no pictures were given; hand at least one film of (T, h, w, 3)")
        self.count = len(next(iter({**self.films, **self.series}.values())))
        self.captions = [str(line) for line in captions]
        self.title, self.xlabel, self.shown = title, xlabel, stills
        for name, row in {**self.films, **self.series, "captions": self.captions}.items():
            if len(row) != self.count and not (name == "captions" and not row):
                raise UserError(
                    f"'{name or 'frames'}' has length {len(row)} and the film {self.count} "
                    "pictures; give one for each picture"
                )
        super().__init__(Dial(xlabel, tuple(map(str, range(self.count)))))
        self._stage: _Stage | None = None

    # --- pictures ------------------------------------------------------------------------

    def draw(self, index: int) -> bytes:
        """Returns picture `index` with everything on it, as PNG."""
        self._stage = self._stage or _Stage(self)
        return self._stage.draw(index)

    def caption(self, index: int) -> str:
        """Returns everything that picture `index` shows, in words."""
        values = [
            f"{name} {row[index]:.3g}"
            for name, row in self.series.items()
            if row[index] == row[index]
        ]
        told = [f"{self.xlabel} {index}", *self.captions[index : index + 1], *values]
        return ", ".join(part for part in told if part)

    # --- a still figure ------------------------------------------------------------------

    def static(self) -> np.ndarray:
        """Draws some pictures of every film and the whole series; returns axes, films first."""
        import matplotlib.pyplot as plt  # leaves the figure to the notebook, which shows it

        shown = max(1, min(self.shown, self.count))
        shape = next((film.shape for film in self.films.values()), (0, 1, 1))
        strip = WIDTH / shown * shape[1] / shape[2] + 0.35
        ratios = [strip] * len(self.films) + [PANEL] * len(self.series)
        figure, axes = plt.subplots(
            len(ratios),
            1,
            figsize=(WIDTH, sum(ratios) + 0.6),
            height_ratios=ratios,
            layout="constrained",
            squeeze=False,
        )
        if self.title:
            figure.suptitle(literal(self.title), fontsize=11)
        films, panels = axes[: len(self.films), 0], axes[len(self.films) :, 0]
        for ax, (name, film) in zip(films, self.films.items(), strict=True):
            filmstrip(film, np.arange(self.count), shown, xlabel="", ax=ax)
            if max(map(len, self.films)) <= BESIDE:
                ax.set_ylabel(literal(name), fontsize=10)
            else:
                ax.set_title(literal(name), fontsize=9, loc="left")
        at = np.linspace(0, self.count - 1, shown).round()
        for ax, (name, row), color in zip(panels, self.series.items(), CYCLE * 9, strict=False):
            _panel(ax, row, color)
            ax.set_title(literal(name), fontsize=9, loc="left")
            for step in at:
                ax.axvline(step, color="0.8", linestyle=":", linewidth=1, zorder=0.5)
        _count_by(panels, self.xlabel)
        if not len(panels):
            films[-1].set_xlabel(literal(self.xlabel), fontsize=10)
        return axes[:, 0]


@in_words
def scrub(
    frames: Mapping[str, ArrayLike] | ArrayLike,
    series: Mapping[str, ArrayLike] | None = None,
    captions: Sequence[str] = (),
    *,
    title: str = "",
    xlabel: str = "step",
    stills: int = 11,
) -> Scrubber:
    """Returns a `Scrubber` for the last line of a cell."""
    return Scrubber(frames, series, captions, title=title, xlabel=xlabel, stills=stills)


class _Stage:
    """Draws once what never changes, and on a copy of it what moves."""

    def __init__(self, film: Scrubber):
        films, series = film.films, film.series
        tall = 0.0  # numbers alone have no pictures above them
        if films:
            height, width = (max(row.shape[i] for row in films.values()) for i in (1, 2))
            tall = min(PICTURE, WIDTH / len(films) * height / width)
        letters = int(WIDTH / max(1, len(films)) / LETTER)
        names = [textwrap.fill(name, letters) for name in films]
        head = (0.75 if film.title else 0.5) + 0.2 * max([n.count("\n") for n in names], default=0)
        size = (WIDTH, head + tall + PANEL * len(series) + (0.45 if series else 0.0))
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        self.canvas = FigureCanvasAgg(figure)
        first = int(bool(films))  # row of the first panel
        ratios = [tall + head] * first + [PANEL] * len(series)
        grid = figure.add_gridspec(len(ratios), max(1, len(films)), height_ratios=ratios)
        if film.title:
            figure.suptitle(literal(film.title), fontsize=11)
        self.moving: list[tuple[Axes, Artist]] = []
        self.images, self.dots = [], []
        for column, (name, row) in enumerate(zip(names, films.values(), strict=True)):
            ax = figure.add_subplot(grid[0, column])
            ax.set_title(literal(name), fontsize=10)
            ax.set_xticks([])
            ax.set_yticks([])
            image = ax.imshow(row[0], animated=True)
            self.images.append((image, row))
            self.moving.append((ax, image))
        panels = [figure.add_subplot(grid[row + first, :]) for row in range(len(series))]
        for ax, (name, row), color in zip(panels, series.items(), CYCLE * 9, strict=False):
            _panel(ax, row, color)
            line = ax.axvline(0, color=BLACK, linestyle="--", linewidth=1, animated=True)
            (dot,) = ax.plot([0], row[:1], "o", color=BLACK, markersize=5, animated=True)
            text = ax.set_title(literal(name), fontsize=9, loc="left")
            text.set_animated(True)
            self.dots.append((name, row, line, dot, text))
            self.moving += [(ax, line), (ax, dot), (ax, text)]
        _count_by(panels, film.xlabel)
        self.canvas.draw()
        self.still = self.canvas.copy_from_bbox(figure.bbox)
        figure.set_layout_engine("none")

    def draw(self, index: int) -> bytes:
        self.canvas.restore_region(self.still)
        for image, row in self.images:
            image.set_data(row[index])
        for name, row, line, dot, text in self.dots:
            line.set_xdata([index, index])
            dot.set_data([index], row[index : index + 1])
            text.set_text(literal(name if np.isnan(row[index]) else f"{name}: {row[index]:.3g}"))
        for ax, artist in self.moving:
            ax.draw_artist(artist)
        return png(np.asarray(self.canvas.buffer_rgba()))


def _pictures(name: str, film: ArrayLike) -> np.ndarray:
    """Returns (T, height, width, 3) uint8, or UserError."""
    film, label = np.asarray(film), f"film '{name}'" if name else "the film"
    if film.ndim != 4 or film.shape[-1] != 3 or not film.size:
        raise UserError(
            f"{label} has shape {film.shape}; pictures are (T, height, width, 3), at least one"
        )
    if len(film) > LONGEST:
        each = -(-len(film) // LONGEST)
        raise UserError(
            f"{label} has {len(film)} pictures, at most {LONGEST} are prepared; show one in "
            f"{each}, film[::{each}]"
        )
    if film.dtype == np.uint8:
        return film
    if film.dtype.kind != "f" or not (film.min() >= 0 and film.max() <= 1):
        raise UserError(
            f"{label} holds {film.dtype} from {film.min()} to {film.max()}; pictures are uint8, "
            "or floats between 0 and 1"
        )
    return (255 * film).round().astype(np.uint8)


def _numbers(name: str, row: ArrayLike) -> np.ndarray:
    """Returns (T,) floats, or UserError."""
    try:
        found = np.asarray(row, float)
    except (TypeError, ValueError):
        raise UserError(f"series '{name}' is {row!r}; give a row of numbers") from None
    if found.ndim != 1:
        raise UserError(f"series '{name}' has shape {found.shape}; give one number a picture, (T,)")
    return found


def _panel(ax: Axes, row: np.ndarray, color: str) -> None:
    ax.plot(np.arange(len(row)), row, color=color, linewidth=1.6, marker=".", markersize=4)
    ax.set_xlim(-0.5, len(row) - 0.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.margins(y=0.2)


def _count_by(panels: Sequence[Axes], xlabel: str) -> None:
    """Names the steps below the last panel alone."""
    for ax in panels:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.tick_params(labelbottom=ax is panels[-1])
    if len(panels):
        panels[-1].set_xlabel(literal(xlabel), fontsize=10)
