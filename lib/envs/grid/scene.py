"""Pictures of the four rooms as Minigrid draws them, and of an imagined agent in them."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from minigrid.core.grid import Grid

from lib.core.errors import UserError
from lib.envs.grid.env import HEADINGS

if TYPE_CHECKING:
    from lib.envs.grid.domain import GridDomain

GHOST = np.array(
    (86, 180, 233)
)  # lib.plotting.charts.SKY, bright enough on black; the agent is red
ALPHA = 0.8  # how much of a cell the ghost covers with its colour
BORDER = 100  # grey of the outer wall


class GridScene:
    """Draws a task of the grid from observations.

    Args:
        domain: the grid and its tasks, whose goals are all drawn.
        task_index: the task.
        size: height and width [pixels]. The grid takes the largest square of whole cells, with
            an edge in the colour of its wall.

    Raises:
        UserError: too few pixels for one per cell.
    """

    def __init__(
        self, domain: "GridDomain", task_index: int = 0, size: tuple[int, int] = (384, 384)
    ):
        self.size, self._bin_of, cells = size, domain.table.bin_of, domain.table.size
        self._tile = min(size) // cells
        if self._tile < 1:
            raise UserError(
                f"a picture of {size[0]}x{size[1]} pixels is too small for {cells}x{cells} cells"
            )
        self._cells = cells
        self._env = domain.make_real(task_index, render_mode="rgb_array", tile_size=self._tile)
        self._env.reset(seed=0)
        self._corner = tuple((pixels - cells * self._tile) // 2 for pixels in size)

    def frame(self, pose: np.ndarray, ghost: np.ndarray | None = None) -> np.ndarray:
        """One picture, a new array.

        Args:
            pose: (3,) observation, rounded to the nearest cell and heading.
            ghost: (3,) of a second agent, drawn blue and translucent where the real one does not
                cover it. It may be anywhere, walls included; one outside the grid stands on its
                edge, and one that is not finite, as dreams may end, is left out.

        Returns:
            (height, width, 3) uint8.

        Raises:
            UserError: the observation is not finite.
            ValueError: another number of entries.
        """
        place = self._place(pose)
        if place is None:
            raise UserError("an observation of the grid is not finite, so it cannot be drawn")
        self._env.put_agent(place[:2], place[2])
        grid = self._env.render()
        seen = self._place(ghost) if ghost is not None else None
        if seen is not None:
            x, y, heading = seen
            rows, columns = (slice(at * self._tile, (at + 1) * self._tile) for at in (y, x))
            cover = ALPHA * _triangle(heading, self._tile)[..., None]
            if (x, y) == place[:2]:
                cover *= 1 - _triangle(place[2], self._tile)[..., None]
            grid[rows, columns] = (1 - cover) * grid[rows, columns] + cover * GHOST
        picture = np.full((*self.size, 3), BORDER, np.uint8)
        top, left = self._corner
        picture[top : top + len(grid), left : left + len(grid)] = grid
        return picture

    def _place(self, pose: np.ndarray) -> tuple[int, int, int] | None:
        """x, y and heading nearest to an observation; None if it is not finite."""
        obs = torch.as_tensor(np.asarray(pose, dtype=np.float32))
        if obs.shape != (3,):
            raise ValueError(f"pose {tuple(obs.shape)}; an observation of the grid is (3,)")
        if not obs.isfinite().all():
            return None
        cell, heading = divmod(int(self._bin_of(obs)), HEADINGS)
        return *divmod(cell, self._cells), heading

    def close(self) -> None:
        """Gives the environment back; may be repeated."""
        self._env.close()

    def __enter__(self) -> "GridScene":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _triangle(heading: int, tile: int) -> np.ndarray:
    """(tile, tile) how much of each pixel Minigrid's agent covers, from 0 to 1."""
    drawn, empty = (
        Grid.render_tile(None, agent_dir=turn, tile_size=tile).astype(float)[..., 0]
        for turn in (heading, None)
    )
    return np.maximum(drawn - empty, 0) / 255
