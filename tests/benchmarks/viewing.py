"""A step of the rollout scrubber: everything drawn anew, or only what moves on a kept stage.

The film is as long as an episode of the cheetah; no picture is taken from what was drawn before.
"""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.viewer.film import Scrubber
from tests.benchmarks.measure import Form, Line, compare

if TYPE_CHECKING:
    from tests.benchmarks.engine import Engine

STEPS = 250


def film() -> Scrubber:
    """Real beside imagined, three rows of numbers."""
    draws = np.random.default_rng(0)
    pictures = draws.integers(0, 256, (STEPS, 192, 192, 3), dtype=np.uint8)
    names = ("reward", "value", "model error")
    return Scrubber(
        {"real": pictures, "imagined": pictures[::-1]},
        {name: draws.normal(size=STEPS).cumsum() for name in names},
        title="A rollout",
    )


def drawn_anew(shown: Scrubber, step: int) -> bytes:
    """The same picture, a new figure for every step."""
    figure = Figure(figsize=(7.2, 6.0), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    rows = figure.subplot_mosaic(
        [[*shown.films], *([name] * len(shown.films) for name in shown.series)]
    )
    for name, pictures in shown.films.items():
        rows[name].imshow(pictures[step])
        rows[name].set_title(name)
    for name, values in shown.series.items():
        rows[name].plot(values, marker=".")
        rows[name].axvline(step, linestyle="--")
        rows[name].set_title(f"{name}: {values[step]:.3g}", loc="left")
    held = io.BytesIO()
    canvas.print_png(held)
    return held.getvalue()


def viewing(engine: "Engine", peak: float) -> Iterator[Line]:
    """Milliseconds until the next picture is there."""
    shown, at = film(), [0]

    def moved(draw) -> Form:
        def step() -> None:
            at[0] = (at[0] + 1) % STEPS
            draw(at[0])

        return Form(step, 1.0)

    plain, fast = moved(lambda step: drawn_anew(shown, step)), moved(shown.draw)
    found = compare(plain, fast, engine.device, engine.scale.effort)
    yield found.duration(f"viewer steps, {STEPS} pictures")
