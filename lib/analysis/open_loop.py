"""Shows what a world model imagines beside what happens; see `lib.runner.open_loop`."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from lib.core.errors import UserError
from lib.plotting.charts import new_axes
from lib.runner.open_loop import imagined_versus_real, open_loop, restarted

__all__ = ["filmstrip", "imagined_versus_real", "open_loop", "restarted"]


def filmstrip(
    frames: ArrayLike,
    times: ArrayLike,
    count: int = 6,
    title: str = "",
    xlabel: str = "env step",
    ax: Axes | None = None,
) -> Axes:
    """Some pictures of a film side by side, for pages that play none.

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
    for place, index in enumerate(chosen):
        left = place * (width + gap)
        strip[:, left : left + width] = frames[index]
    ax = new_axes(ax, (1.7 * count, 0.5 + 1.7 * height / width))
    ax.imshow(strip)
    centres = np.arange(count) * (width + gap) + (width - 1) / 2
    ax.set_xticks(centres, [f"{time:g}" for time in times[chosen]], fontsize=9)
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(xlabel, fontsize=10)
    ax.set_title(title, fontsize=11)
    return ax
