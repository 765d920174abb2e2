"""MiniGrid-FourRooms-New: four rooms around one crossing, as a Minigrid environment.

Importing this module registers the environment with gymnasium:

    gymnasium.make("MiniGrid-FourRooms-New", start=(1, 1), goal=(8, 12), render_mode="rgb_array")
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Goal, Wall
from minigrid.minigrid_env import MiniGridEnv

from lib.core.errors import UserError, unknown
from lib.envs.grid.rooms import (
    CONTINUAL,
    LISTED_TASKS,
    Cell,
    check_size,
    open_cells,
    place_blocks,
    room_side,
    scale,
)

ENV_ID = "MiniGrid-FourRooms-New"
HEADINGS = 4  # 0 right (+x), 1 down (+y), 2 left (-x), 3 up (-y)
ACTIONS = 3  # 0 turn left, 1 turn right, 2 forward
OBS_DIM = 3
REWARDS = ("dense", "sparse")


def observe(x: np.ndarray, y: np.ndarray, heading: np.ndarray, size: int) -> np.ndarray:
    """(...) positions and headings to (..., 3) float32 observations within [-1, 1)."""
    scaled = (
        2 * np.asarray(x) / size,
        2 * np.asarray(y) / size,
        2 * np.asarray(heading) / HEADINGS,
    )
    return (np.stack(scaled, axis=-1) - 1).astype(np.float32)


def task_reward(
    before: np.ndarray, after: np.ndarray, goal: Cell, size: int, kind: str = "dense"
) -> np.ndarray:
    """Reward for going from one position to another.

    Sparse: 1 for each step that ends on the goal. Dense: 3 there, and elsewhere in the goal's
    room 1 - d/radius for a step that brings the agent closer, d being the Euclidean distance it
    ends at and the radius the side of a room (12 at size 27).

    Args:
        before: (..., 2) position that the step starts from.
        after: (..., 2) position that it ends in; turning or bumping leaves it unchanged.
        goal: the cell that pays.
        size: side of the grid.
        kind: "dense" or "sparse".

    Returns:
        (...) float64.

    Source: DRAGO, released environment. "In the goal's room" is its test: strictly on the same
    side of the vertical wall, and offsets from the horizontal wall of non-negative product.
    """
    before, after, target = np.asarray(before), np.asarray(after), np.asarray(goal)
    if kind not in REWARDS:
        raise unknown("reward", kind, REWARDS)
    at_goal = (after == target).all(-1)
    if kind == "sparse":
        return at_goal.astype(np.float64)
    distance = np.sqrt(((after - target) ** 2).sum(-1))
    closer = distance < np.sqrt(((before - target) ** 2).sum(-1))
    side = (after - size // 2) * (target - size // 2)
    in_room = (side[..., 0] > 0) & (side[..., 1] >= 0)
    approach = np.maximum(0, 1 - distance / room_side(size))
    return in_room * (approach * (closer | at_goal) + 2.0 * at_goal)


class FourRooms(MiniGridEnv):
    """Walk from a fixed start to a goal in one of four rooms that meet at the centre.

    | Num | Action       |
    |-----|--------------|
    | 0   | turn left    |
    | 1   | turn right   |
    | 2   | move forward |

    | Observation | Value           | Range                     |
    |-------------|-----------------|---------------------------|
    | 0           | 2 x / size - 1  | [-1, 1)                   |
    | 1           | 2 y / size - 1  | [-1, 1)                   |
    | 2           | 2 heading/4 - 1 | -1 right, -.5 down, 0 left, .5 up |

    Episodes last `max_steps` steps and are truncated there; nothing ends them earlier. Goals can
    be walked on, blocks cannot. The first heading is random and follows the seed of `reset`.

    Where we differ from the released environment: it is seeded, its size can be chosen, the
    7x7 view that nothing used is not computed, and the picture does not highlight that view.

    Args:
        size: side of the grid, odd, 9 or more.
        start: first position; by default that of room-1.
        goal: the cell that pays; by default that of room-1.
        goals: every goal to draw; by default those of room-1 to room-4.
        reward: "dense" or "sparse", see `task_reward`.
        put_blocks: whether the rooms hold blocks.
        max_steps: length of an episode.
        options: Minigrid's own, such as render_mode and tile_size.

    Raises:
        UserError: size or reward unknown; start or goal is no free cell.
    """

    def __init__(
        self,
        size: int = 27,
        start: Cell | None = None,
        goal: Cell | None = None,
        goals: tuple[Cell, ...] | None = None,
        reward: str = "dense",
        put_blocks: bool = True,
        max_steps: int = 100,
        **options: Any,
    ):
        check_size(size)
        if reward not in REWARDS:
            raise unknown("reward", reward, REWARDS)
        listed = [LISTED_TASKS[name] for name in CONTINUAL]
        self.start = tuple(start or scale(listed[0].start, size))
        self.goal = tuple(goal or scale(listed[0].goal, size))
        self.goals = tuple(goals or (scale(task.goal, size) for task in listed))
        self.blocks = place_blocks(size) if put_blocks else ()
        self.reward_kind = reward
        check_free("start", self.start, size, self.blocks)
        for cell in (self.goal, *self.goals):
            check_free("goal", cell, size, self.blocks)
        mission = MissionSpace(mission_func=self._mission)
        options = {"highlight": False, **options}
        super().__init__(mission, grid_size=size, max_steps=max_steps, **options)
        self.action_space = spaces.Discrete(ACTIONS)
        self.observation_space = spaces.Box(-1.0, 1.0, (OBS_DIM,), np.float32)

    @staticmethod
    def _mission() -> str:
        return "reach the goal and stay there"

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        free = open_cells(width)
        for x in range(1, width - 1):
            for y in range(1, height - 1):
                if (x, y) not in free:
                    self.grid.horz_wall(x, y, length=1)
        for x, y in self.blocks:
            self.put_obj(Wall("purple"), x, y)
        for x, y in (*self.goals, self.goal):
            self.put_obj(Goal(), x, y)
        self.put_agent(self.start, self._rand_int(0, HEADINGS))

    def put_agent(self, position: Cell, heading: int) -> None:
        """Move the agent there at once; lets a test or a table visit every state."""
        self.agent_pos, self.agent_dir = position, heading

    def gen_obs(self) -> np.ndarray:
        """(3,) float32: position and heading."""
        return observe(*self.agent_pos, self.agent_dir, self.width)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One action. Never terminates; truncated after `max_steps` steps."""
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is none of 0 left, 1 right, 2 forward")
        before = self.agent_pos
        obs, _, _, truncated, info = super().step(action)
        reward = task_reward(before, self.agent_pos, self.goal, self.width, self.reward_kind)
        return obs, float(reward), False, truncated, info


def check_free(what: str, cell: Cell, size: int, blocks: tuple[Cell, ...]) -> None:
    """Raises UserError unless the agent can stand on the cell; `what` begins the message."""
    if not all(0 <= coordinate < size for coordinate in cell):
        allowed = f"x and y from 1 to {size - 2}"
        raise UserError(f"{what} {tuple(cell)} lies outside the {size}x{size} grid; use {allowed}")
    obstacle = "a block" if cell in blocks else "a wall" if cell not in open_cells(size) else ""
    if obstacle:
        remedy = (
            "choose a free cell"
            if obstacle == "a wall"
            else "choose a free cell or put_blocks false"
        )
        raise UserError(
            f"{what} {tuple(cell)} is on {obstacle} of the {size}x{size} grid; {remedy}"
        )


if ENV_ID not in gymnasium.registry:
    gymnasium.register(ENV_ID, entry_point=FourRooms)
