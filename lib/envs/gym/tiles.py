"""Pictures made of tiles, drawn on the device from what is stored: a lookup per pixel.

Letters: K tiles of p x p pixels, rows x columns of cells in a view.
"""

from collections.abc import Callable

import torch
from torch import Tensor

SIDE = 64  # height and width of every picture that a learner sees [pixels]


def nearest(source: int, side: int = SIDE) -> Tensor:
    """(side,) long: which of `source` pixels each of `side` shows, nearest to its centre.

    Whole numbers, so that no rounding decides: floor((i + 1/2) source / side), as Pillow does.
    """
    return (2 * torch.arange(side) + 1) * source // (2 * side)


class Tiles:
    """Stored observations (..., *shape) to pictures (..., 64, 64, 3) uint8.

    Args:
        tiles: (K, p, p, 3) uint8.
        choose: stored observations to the tile of each cell, (..., rows, columns) long.
        cells: rows and columns of the view.
        border: black pixels around it, before the nearest are picked.
        device: where it will be called; other devices get copies when they ask.
    """

    def __init__(
        self,
        tiles: Tensor,
        choose: Callable[[Tensor], Tensor],
        cells: tuple[int, int],
        border: int = 0,
        device: torch.device | str = "cpu",
    ):
        self._choose = choose
        pixels = tiles.shape[1]
        black = torch.zeros(1, 3, dtype=torch.uint8)
        palette = torch.cat((tiles.reshape(-1, 3), black))  # (K p p + 1, 3)
        row, column = (nearest(count * pixels + 2 * border) - border for count in cells)
        row_in, column_in = (
            (at >= 0) & (at < count * pixels)
            for at, count in zip((row, column), cells, strict=True)
        )
        row, column = (
            at.clamp(0, count * pixels - 1) for at, count in zip((row, column), cells, strict=True)
        )
        inside = row_in[:, None] & column_in
        cell = (row // pixels)[:, None] * cells[1] + column // pixels  # (64, 64)
        offset = (row % pixels)[:, None] * pixels + column % pixels
        self._size = pixels * pixels
        self._border = border
        parts = palette, cell.flatten(), offset.flatten(), inside.flatten()
        self._parts = {torch.device("cpu"): parts}
        self._on(torch.device(device))

    def __call__(self, stored: Tensor) -> Tensor:
        """(..., *shape) to (..., 64, 64, 3) uint8, on the device of what is stored."""
        palette, cell, offset, inside = self._on(stored.device)
        tile = self._choose(stored)
        batch = tile.shape[:-2]
        pixel = tile.reshape(-1, tile.shape[-2] * tile.shape[-1])[:, cell] * self._size + offset
        if self._border:
            pixel = torch.where(inside, pixel, len(palette) - 1)
        return palette[pixel].view(*batch, SIDE, SIDE, 3)

    def _on(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._parts:
            parts = tuple(part.to(device) for part in self._parts[torch.device("cpu")])
            self._parts[parts[0].device] = parts  # "cuda" becomes "cuda:0", as tensors say it
            return parts
        return self._parts[device]


def sampled(picture: Tensor) -> Tensor:
    """(..., height, width, C) to (..., 64, 64, C), the nearest pixel each."""
    height, width = picture.shape[-3:-1]
    return picture[..., nearest(height), :, :][..., nearest(width), :]
