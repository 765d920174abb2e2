"""Draws the moving picture of the landing page, from two runs on the four rooms.

python -m lib run drago-grid-quick && python -m lib run tdmpc-grid-quick
PYTHONPATH=. python outputs/published/what_is_remembered.py
"""

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize
from PIL import Image

from lib.core.paths import OUTPUTS
from lib.plotting import maps

RUNS = {
    "DRAGO": "drago-grid-quick-s0",
    "the same learner, unprotected (TD-MPC)": "tdmpc-grid-quick-s0",
}
FRAME = "#D55E00"  # around the room just learnt
LASTS = [1200, 1200, 1200, 3000]  # [ms] of each picture


def picture(room: int) -> Image.Image:
    """What the world models know after a room, counted from 1: right predictions per cell."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.9), layout="constrained")
    for ax, (title, name) in zip(axes, RUNS.items(), strict=True):
        with np.load(OUTPUTS / name / "audits" / f"task-{room}.npz") as audit:
            cells, right = audit["cells"], audit["right"].astype(float)
        maps.grid_map(cells, right, "", title, Normalize(0, 1), colorbar=False, ax=ax)
        corner = (0.5 + 6 * ((room - 1) % 2), 0.5 + 6 * ((room - 1) // 2))
        ax.add_patch(plt.Rectangle(corner, 5, 5, fill=False, edgecolor=FRAME, linewidth=4))
    figure.suptitle(f"after learning room {room} of 4 (framed)", fontsize=12)
    file = io.BytesIO()
    figure.savefig(file, dpi=100)
    return Image.open(file).convert("RGB")


if __name__ == "__main__":
    pictures = [picture(room) for room in range(1, 5)]
    colours = pictures[-1].quantize(64, dither=Image.Dither.NONE)  # one table for all: no flicker
    pictures = [one.quantize(palette=colours, dither=Image.Dither.NONE) for one in pictures]
    first, *others = pictures
    target = Path(__file__).with_name("what-is-remembered.gif")
    first.save(target, append_images=others, duration=LASTS, save_all=True, loop=0, optimize=True)
