"""Tasks as data: a list of names or mappings becomes the grid that they share."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lib.core.errors import UserError, short, unknown
from lib.core.spaces import ActionSpace
from lib.envs.api import Intrinsic, Outcomes, Predict, Sample, Scene, World
from lib.envs.grid import audit, plans
from lib.envs.grid.env import ACTIONS, HEADINGS, OBS_DIM, REWARDS, FourRooms, check_free
from lib.envs.grid.optimum import finite_horizon_values
from lib.envs.grid.rooms import (
    CONTINUAL,
    Cell,
    GridTask,
    check_size,
    named_tasks,
    place_blocks,
    room_of,
)
from lib.envs.grid.table import WARMUP, GridBatch, GridTable

if TYPE_CHECKING:
    from lib.core.config import EnvConfig

TASK_FIELDS = ("name", "start", "goal")


def resolve(
    entries: Iterable[str | Mapping | GridTask], size: int = 27, put_blocks: bool = True
) -> tuple[GridTask, ...]:
    """Task records in the order given.

    Args:
        entries: names (of `rooms.LISTED_TASKS`, scaled to the grid), or mappings with name,
            start and goal in coordinates of the actual grid, or records.
        size: side of the grid.
        put_blocks: whether its rooms hold blocks, which nothing may start or end on.

    Raises:
        UserError: an unknown name or field, a start or goal outside the grid or on a wall or
            block, a start that is the goal, a name given twice, no entries, a size that
            cannot be laid out.
    """
    check_size(size)
    known = named_tasks(size)
    blocks = place_blocks(size) if put_blocks else ()
    tasks = tuple(_record(entry, known) for entry in entries)
    if not tasks:
        raise UserError(f"no tasks given; name at least one, for example {', '.join(CONTINUAL)}")
    seen = set()
    for task in tasks:
        check_free(f"task {task.name!r}: start", task.start, size, blocks)
        check_free(f"task {task.name!r}: goal", task.goal, size, blocks)
        if task.start == task.goal:
            raise UserError(
                f"task {task.name!r} starts at its goal {list(task.goal)}, so there is nothing to "
                "learn; give another start or goal"
            )
        if task.name in seen:
            raise UserError(
                f"task {task.name!r} is listed twice; names tell results apart, so give the "
                f"repeat its own: {{name: ..., start: {list(task.start)}, goal: {list(task.goal)}}}"
            )
        seen.add(task.name)
    return tasks


def _record(entry: str | Mapping | GridTask, known: Mapping[str, GridTask]) -> GridTask:
    if isinstance(entry, GridTask):
        return entry
    if isinstance(entry, Mapping):
        for field in entry:
            if field not in TASK_FIELDS:
                raise unknown("task field", field, TASK_FIELDS)
        missing = [field for field in TASK_FIELDS if field not in entry]
        if missing:
            raise UserError(
                f"task {short(dict(entry))} lacks {', '.join(missing)}; it needs all of name, "
                "start, goal"
            )
        name = entry["name"]
        return GridTask(name, _cell(name, entry["start"]), _cell(name, entry["goal"]))
    if entry not in known:
        raise unknown("task", entry, known, "or give {name, start: [x, y], goal: [x, y]}")
    return known[entry]


def _cell(name: str, pair: object) -> Cell:
    whole = isinstance(pair, list | tuple) and all(type(number) is int for number in pair)
    if not whole or len(pair) != 2:
        raise UserError(f"task {name!r}: {short(pair)} is no cell; give two whole numbers, [x, y]")
    return pair[0], pair[1]


class GridDomain:
    """A sequence of grid tasks on one table: a `Domain`.

    What is held out is (tasks, S * A) bool on the device, true where a task met a transition.
    """

    obs_dim = OBS_DIM
    action_repeat = 1
    exact_optimum = True

    def __init__(
        self,
        table: GridTable,
        tasks: tuple[GridTask, ...],
        reward: str = "dense",
        episode_length: int = 100,
    ):
        self.table = table
        self.tasks = tasks
        self.reward = reward
        self.episode_length = episode_length
        self.grid_size = table.size
        self.actions = ActionSpace(ACTIONS, discrete=True, warmup=WARMUP)

    def make(self, task_index: int) -> GridBatch:
        """The batched environment of one task."""
        return GridBatch(self.table, self.tasks[task_index], self.reward, self.episode_length)

    def make_real(self, task_index: int, **options: object) -> FourRooms:
        """The Minigrid environment of one task, for pictures; every task's goal is drawn."""
        task = self.tasks[task_index]
        return FourRooms(
            self.table.size,
            start=task.start,
            goal=task.goal,
            goals=tuple(other.goal for other in self.tasks),
            reward=self.reward,
            put_blocks=bool(self.table.blocks),
            max_steps=self.episode_length,
            **options,
        )

    def optimum(self, task_index: int) -> float:
        """Best undiscounted return, averaged over the four headings an episode may start with."""
        task = self.tasks[task_index]
        reward = self.table.reward(task, self.reward)
        values = finite_horizon_values(self.table.next_state, reward, self.episode_length)
        first = self.table.state_of(*task.start, 0)
        return float(values[first : first + HEADINGS].mean())

    def scene(self, task_index: int) -> Scene:
        """Draws a task as Minigrid does; a pose is an observation."""
        from lib.envs.grid.scene import GridScene

        return GridScene(self, task_index)

    def pose_of(self, obs: Tensor, first: np.ndarray) -> np.ndarray:
        """(T+1, L): an observation is a pose."""
        return obs.cpu().numpy()

    def new_held_out(self) -> Tensor:
        """(tasks, S * A) bool, nothing met yet."""
        shape = (len(self.tasks), self.table.states * ACTIONS)
        return torch.zeros(shape, dtype=torch.bool, device=self.table.obs.device)

    def record(self, held_out: Tensor, task_index: int, obs: Tensor, action: Tensor) -> None:
        """Mark in place what the agent met: obs (E, T, L) left by action (E, T, A)."""
        transition = self.table.nearest(obs) * ACTIONS + action.argmax(-1)
        held_out[task_index].index_fill_(0, transition.flatten(), True)

    def hold_out(
        self,
        held_out: Tensor,
        task_index: int,
        obs: Tensor,
        action: Tensor,
        reward: Tensor | None = None,
        length: Tensor | None = None,
    ) -> None:
        """Nothing: the audit asks about every transition there is."""

    def audit(
        self,
        held_out: Tensor,
        predict: Predict,
        sample: Sample | None = None,
        intrinsic: Intrinsic | None = None,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Examine a world model over every transition; see `lib.envs.grid.audit`."""
        names = [task.name for task in self.tasks]
        return audit.audit(self.table, names, held_out, predict, sample, intrinsic)

    def audit_plans(
        self,
        task_index: int,
        outcomes: Outcomes,
        horizon: int,
        discount: float,
        generator: torch.Generator,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Examine what is expected of action sequences; see `lib.envs.grid.plans`.

        Metrics are over the states of the rooms that the task leads through.
        """
        task, room = self.tasks[task_index], self.table.room.cpu().numpy()
        rooms = [room_of(cell, self.table.size) for cell in (task.start, task.goal)]
        return plans.audit(
            self.table,
            self.table.reward(task, self.reward),
            np.isin(room, rooms),
            task.name,
            outcomes,
            horizon,
            discount,
            generator,
        )


def build(
    env: "EnvConfig",
    tasks: Iterable[str | Mapping | GridTask],
    device: torch.device | str = "cpu",
) -> GridDomain:
    """The grid and the tasks that a configuration describes.

    Raises:
        UserError: an unknown reward, an episode without steps, or what `resolve` says.
    """
    if env.reward not in REWARDS:
        raise unknown("reward", env.reward, REWARDS)
    if env.episode_length < 1:
        raise UserError(f"episode_length {env.episode_length} is no episode; use 1 or more")
    resolved = resolve(tasks, env.size, env.put_blocks)
    table = GridTable.build(env.size, env.put_blocks, device)
    return GridDomain(table, resolved, env.reward, env.episode_length)


WORLD = World(
    resolve=lambda env, entries: resolve(entries, env.size, env.put_blocks),
    build=build,
    bounded=True,
    has_cells=True,
    tabular=True,
)
