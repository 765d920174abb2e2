"""Shows runs side by side, while they go on: curves of what they logged, from their folders.

    viewer.browse("outputs")

Nothing is trained or loaded. A run's log is read once and then only what was added to it.
"""

import html as markup
import io
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.analysis.results import with_gaps
from lib.core.errors import UserError
from lib.experiments import folders
from lib.plotting import charts
from lib.runner import records
from lib.runner.record import describe
from lib.runner.run_folder import RunFolder
from lib.viewer.base import DPI, Shown, in_words, png

RETURN = "return of the task being learnt"  # eval/TASK/return, one task after the other
EVERY = 2000  # milliseconds between two looks at runs that go on


class Log:
    """Follows a run's metrics.jsonl, as far as it was written when it was last read."""

    def __init__(self, folder: Path):
        self.folder, self.offset = folder, 0
        self.rows: dict[str, list[tuple[float, float, str]]] = {}  # (env steps, value, task)

    def read(self) -> int:
        """Reads the lines that were added, whole ones only; returns how many."""
        try:
            with open(RunFolder(self.folder).metrics, "rb") as file:
                size = file.seek(0, io.SEEK_END)
                if size < self.offset:  # a run that was started afresh
                    self.offset, self.rows = 0, {}
                file.seek(self.offset)
                added = file.read()
        except OSError:
            return 0
        whole = added[: added.rfind(b"\n") + 1]
        self.offset += len(whole)
        lines = whole.splitlines()
        for line in lines:
            self._take(line)
        return len(lines)

    def _take(self, line: bytes) -> None:
        row = records.metric(line)
        if row is None or "task" not in row:
            return  # not a line of ours: the others still count
        step, task, values = row["env_steps"], row["task"], row["values"]
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                # A task's own evaluations go on in later tasks; all else ends with its task.
                whose = "" if name.startswith("eval/") else task
                self.rows.setdefault(name, []).append((step, value, whose))
                if name == f"eval/{task}/return":
                    self.rows.setdefault(RETURN, []).append((step, value, task))

    def curve(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns environment steps of the whole run, and values, a NaN between two tasks."""
        rows = self.rows.get(metric)
        return with_gaps(*zip(*rows, strict=True)) if rows else with_gaps((), ())


class Browser(Shown):
    """Shows curves of runs to pick from, and redraws what is added while they go on.

    Args:
        outputs: folder of run folders.
        runs: names of those picked at first; all of them if left out.

    Raises:
        UserError: no such folder, no run in it, or a name that is none of its runs.
    """

    def __init__(self, outputs: str | Path = "outputs", runs: Sequence[str] = ()):
        super().__init__()
        self.outputs = Path(outputs)
        self.logs: dict[str, Log] = {}
        if not self.outputs.is_dir():
            raise UserError(f"there is no folder '{outputs}'; give one that holds run folders")
        self.look()
        if not self.logs:
            raise UserError(f"no run in '{outputs}'; start one with: python -m lib run NAME")
        for name in runs:
            if name not in self.logs:
                raise UserError(f"'{name}' is no run in '{outputs}'; there: {', '.join(self.logs)}")
        self.picked = list(runs) or list(self.logs)
        self.metric = RETURN if RETURN in self.metrics() else next(iter(self.metrics()), RETURN)

    def look(self) -> int:
        """Finds new runs and reads what was added to all; returns the number of new lines."""
        for folder in sorted(path for path in self.outputs.iterdir() if path.is_dir()):
            if folder.name in self.logs:
                continue
            with suppress(UserError):  # other things than a run
                if folders.held(folder) is not None:
                    self.logs[folder.name] = Log(folder)
        return sum(log.read() for log in self.logs.values())

    def metrics(self) -> list[str]:
        """Returns everything that a run has logged, the return first."""
        names = {name for log in self.logs.values() for name in log.rows}
        return sorted(names, key=lambda name: (name != RETURN, name))

    def status(self) -> str:
        """Returns a line for every run."""
        return "\n".join(
            f"{name}: {folders.status(log.folder)}" for name, log in sorted(self.logs.items())
        )

    def words(self) -> str:
        """Returns which runs there are and what is drawn."""
        return f"{len(self.logs)} runs in {self.outputs.name}, {self.metric}"

    def static(self) -> np.ndarray:
        """Draws the curves of all runs picked."""
        import matplotlib.pyplot as plt  # leaves the figure to the notebook, which shows it

        _, ax = plt.subplots(figsize=(7.2, 3.8), layout="constrained")
        self._draw(ax)
        return np.array([ax])

    def picture(self) -> bytes:
        """Returns the same as PNG."""
        figure = Figure(figsize=(7.2, 3.8), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        self._draw(figure.subplots())
        canvas.draw()
        return png(np.asarray(canvas.buffer_rgba()))

    def _draw(self, ax: Axes) -> None:
        curves = {name: self.logs[name].curve(self.metric) for name in self.picked}
        drawn = {name: curve for name, curve in curves.items() if len(curve[0])}
        charts.series(drawn, "environment steps of the whole run", _label(self.metric), ax=ax)
        if not drawn:
            ax.text(0.5, 0.5, "nothing logged yet", ha="center", transform=ax.transAxes)
        elif len(drawn) == 1:
            ax.set_title(charts.literal(next(iter(drawn))), fontsize=10)

    def _controls(self) -> Any:
        import ipywidgets as widgets

        wide = {"description_width": "initial"}
        image = widgets.Image(value=self.picture(), format="png")
        runs = widgets.SelectMultiple(
            options=list(self.logs),
            value=self.picked,
            rows=min(8, max(2, len(self.logs))),
            description="runs",
            tooltip="hold Ctrl or Shift to pick several",
            layout={"width": "420px"},
            style=wide,
        )
        metric = widgets.Dropdown(
            options=self.metrics() or [RETURN], value=self.metric, description="metric", style=wide
        )
        again = widgets.Button(description="look again", icon="refresh", layout={"width": "120px"})
        follow = widgets.Play(
            min=0, max=100_000, interval=EVERY, tooltip="look again every two seconds"
        )
        words = widgets.HTML()

        def say() -> None:
            words.value = "<br>".join(map(markup.escape, self.status().split("\n")))

        def draw(_: Any = None) -> None:
            self.picked, self.metric = list(runs.value), metric.value
            image.value = self.picture()

        def refresh(_: Any = None) -> None:
            known = set(self.logs)
            added = self.look()
            if set(self.logs) != known:
                chosen = runs.value
                runs.options, runs.value = list(self.logs), chosen
            if added:
                names, chosen = self.metrics(), metric.value
                if list(metric.options) != names:
                    metric.options = names
                    metric.value = chosen if chosen in names else names[0]
                draw()
            say()

        say()
        runs.observe(draw, "value")
        metric.observe(draw, "value")
        again.on_click(refresh)
        follow.observe(refresh, "value")
        label = widgets.Label("follow runs that go on:")
        buttons = widgets.HBox([again, label, follow], layout={"flex_flow": "wrap"})
        return widgets.VBox([image, metric, runs, buttons, words])


@in_words
def browse(outputs: str | Path = "outputs", runs: Sequence[str] = ()) -> Browser:
    """Returns a `Browser` for the last line of a cell."""
    return Browser(outputs, runs)


def _label(metric: str) -> str:
    """Returns the name and unit of a metric."""
    if metric == RETURN:
        return RETURN
    try:
        return describe(metric).label
    except UserError:
        return metric
