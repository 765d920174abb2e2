"""Defines what all views share: pictures along one or two dials, and controls to turn them.

A view says what its dials are, draws the picture of a position and puts it into words. Controls,
a still figure where nobody is there to touch them, and a form for pages without a kernel follow.

Play, pause and steps are buttons, sliders listen to the arrow keys, and Tab goes from one to the
next.
"""

import base64
import functools
import hashlib
import html as markup
import io
import itertools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lib.core.errors import UserError
from lib.core.files import atomic_write
from lib.core.kernel import FILMS, UNATTENDED

SPEEDS = {"slow": 1000, "normal": 500, "fast": 200, "very fast": 80}  # milliseconds a picture
DPI = 80  # of pictures on the screen
T = TypeVar("T", bound="Shown")
COLOURS = 128  # of pictures that are written into pages


@dataclass(frozen=True)
class Dial:
    """Describes something that a view can be turned along."""

    name: str  # what it counts, for example "step"
    labels: tuple[str, ...]  # what every position is called, one at least
    start: int = 0  # position shown first

    def __len__(self) -> int:
        return len(self.labels)


class Shown(ABC):
    """Is something to touch on a page, with a still figure where nobody is there to touch it."""

    def __init__(self) -> None:
        self._widget: Any = None

    @abstractmethod
    def static(self) -> np.ndarray:
        """Draws a new figure for paper, with all that can be shown at once; returns its axes."""

    @abstractmethod
    def words(self) -> str:
        """Returns what is shown at first."""

    @abstractmethod
    def _controls(self) -> Any:
        """Returns a new widget."""

    def film(self) -> dict[str, Any] | None:
        """Returns what a page without a kernel needs to be touched; None: it shows the still."""
        return None

    @property
    def widget(self) -> Any:
        """Returns what there is to touch; the same every time."""
        if self._widget is None:
            self._widget = self._controls()
        return self._widget

    def _ipython_display_(self) -> None:
        from IPython.display import display

        unattended = bool(os.environ.get(UNATTENDED))
        data: dict[str, Any] = {"text/plain": self.words()}
        metadata: dict[str, Any] = {}
        if not unattended:
            try:
                data |= self.widget._repr_mimebundle_()
            except ImportError:
                print("ipywidgets is not installed, so this is a still: pip install ipywidgets")
        data["image/png"] = _png_of(self.static)
        folder = os.environ.get(FILMS)
        if unattended and folder and (film := self.film()):
            metadata["workbook"] = {"film": _keep(film, Path(folder))}
        display(data, metadata=metadata, raw=True)


class View(Shown):
    """Shows pictures along one or two dials; the first of them can be played like a film."""

    def __init__(self, *dials: Dial):
        super().__init__()
        self.dials = dials
        self._drawn: dict[tuple[int, ...], bytes] = {}

    # --- what a view is ------------------------------------------------------------------

    @abstractmethod
    def draw(self, *at: int) -> bytes:
        """Returns the picture at a position, one number a dial, as PNG; all of one size."""

    @abstractmethod
    def caption(self, *at: int) -> str:
        """Returns what that picture shows, in words."""

    # --- what follows --------------------------------------------------------------------

    def picture(self, *at: int) -> bytes:
        """Returns what `draw` gives, and calls it once for every position."""
        if at not in self._drawn:
            self._drawn[at] = self.draw(*at)
        return self._drawn[at]

    @property
    def start(self) -> tuple[int, ...]:
        """Returns the position shown first."""
        return tuple(dial.start for dial in self.dials)

    def words(self) -> str:
        """Returns the caption of the position shown first."""
        return self.caption(*self.start)

    def film(self) -> dict[str, Any]:
        """Returns all pictures and words for a page without a kernel, see `lib.viewer.player`.

        Positions are counted as in nested loops, the last dial fastest.
        """
        positions = list(itertools.product(*(range(len(dial)) for dial in self.dials)))
        return {
            "dials": [
                {"name": dial.name, "labels": list(dial.labels), "start": dial.start}
                for dial in self.dials
            ],
            "captions": [self.caption(*at) for at in positions],
            "pictures": [base64.b64encode(_small(self.picture(*at))).decode() for at in positions],
        }

    # --- controls ------------------------------------------------------------------------

    def _controls(self) -> Any:
        import ipywidgets as widgets

        image = widgets.Image(value=self.picture(*self.start), format="png")
        # Unlike a label, this breaks lines that are too long.
        words = widgets.HTML(markup.escape(self.caption(*self.start)))
        sliders = [_slider(dial) for dial in self.dials]

        def move(_: Any) -> None:
            at = tuple(slider.value for slider in sliders)
            image.value, words.value = self.picture(*at), markup.escape(self.caption(*at))

        for slider in sliders:
            slider.observe(move, "value")
        buttons = [*_transport(sliders[0]), *sliders[1:]] if len(self.dials[0]) > 1 else sliders[1:]
        return widgets.VBox(
            [image, widgets.HBox(buttons, layout={"flex_flow": "wrap"}), words],
        )


def in_words(make: Callable[..., T]) -> Callable[..., T | None]:
    """Wraps what stands in a cell's last line: what does not fit is said there in one line."""

    @functools.wraps(make)
    def made(*args: Any, **kwargs: Any) -> T | None:
        try:
            return make(*args, **kwargs)
        except UserError as error:
            print(f"Nothing to show: {error}")
            return None

    return made


def png(pixels: np.ndarray) -> bytes:
    """Encodes (height, width, 3 or 4) uint8 as PNG, quickly."""
    held = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., :3])).save(held, "PNG", compress_level=3)
    return held.getvalue()


def _small(picture: bytes) -> bytes:
    """Returns the same PNG with a palette, about a third of its bytes."""
    held = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(held, "PNG", optimize=True)
    return held.getvalue()


def _keep(film: Mapping[str, Any], folder: Path) -> str:
    """Writes a film into a folder, under a name that depends on its content alone."""
    text = json.dumps(film)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    atomic_write(folder / f"{digest}.json", text)
    return digest


def _png_of(static: Callable[[], np.ndarray]) -> str:
    """Returns a still figure as base64 text, closed again."""
    import matplotlib.pyplot as plt

    figure: Figure = np.ravel(static())[0].figure
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    return base64.b64encode(held.getvalue()).decode()


def _slider(dial: Dial) -> Any:
    """Returns positions of a dial, called by their labels where these are not plain counting."""
    import ipywidgets as widgets

    counted = list(dial.labels) == [str(i) for i in range(len(dial))]
    slider = widgets.IntSlider(
        value=dial.start,
        min=0,
        max=len(dial) - 1,
        description=dial.name,
        readout=counted,
        tooltip="arrow keys move along",
        style={"description_width": "initial"},
        layout={"width": "320px"},
    )
    return slider


def _transport(slider: Any) -> list[Any]:
    """Returns buttons to play and to step, a slider and its speed."""
    import ipywidgets as widgets

    play = widgets.Play(
        value=slider.value,
        min=0,
        max=slider.max,
        interval=SPEEDS["normal"],
        show_repeat=True,
        tooltip="play or pause",
    )
    width = {"width": "90px"}
    back, forth = (
        widgets.Button(description=name, icon=icon, tooltip=f"one {name}", layout=width)
        for name, icon in (("back", "step-backward"), ("forward", "step-forward"))
    )
    speed = widgets.Dropdown(
        options=list(SPEEDS), value="normal", description="speed", layout={"width": "180px"}
    )

    def step(by: int) -> None:
        slider.value = min(max(slider.value + by, 0), slider.max)

    def pace(change: Any) -> None:
        play.interval = SPEEDS[change["new"]]

    back.on_click(lambda _: step(-1))
    forth.on_click(lambda _: step(1))
    speed.observe(pace, "value")
    widgets.jslink((play, "value"), (slider, "value"))  # in the page, so that it runs smoothly
    return [play, back, forth, slider, speed]
