"""The tasks of Minigrid: names, the symbols that are stored, and pictures drawn from them.

DoorKey-9x9, as Continual-Dreamer calls its first task, is not registered with Minigrid, and the
environment of that name in the authors' copy is in fact 8x8 (grid of 8, 640 steps). So it is
DoorKey-8x8 here, and "doorkey-9x9" is another name for it.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import gymnasium
import minigrid  # noqa: F401 (registers the environments)
import numpy as np
import torch
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from torch import Tensor

from lib.core.errors import UserError, short, unknown
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.api import World
from lib.envs.gym.batch import Recipe
from lib.envs.gym.domain import GymDomain, check_lengths
from lib.envs.gym.tasks import GymTask, distinct
from lib.envs.gym.tiles import Tiles

if TYPE_CHECKING:
    from lib.core.config import EnvConfig

CLASSES = len(OBJECT_TO_IDX), len(COLOR_TO_IDX), len(STATE_TO_IDX)  # 11, 6, 3
OBSERVATIONS = ("pixels", "symbols")
TILE = 8  # pixels of a cell in the paper's pictures
UP = 3  # heading of the agent in its own view
START = (3, 3)  # of the two tasks that interfere

# Four rooms whose walls, start and heading are the same in every episode (seed 1), with the goal
# in one corner or the other: what one task teaches is wrong in the next.
INTERFERENCE = {
    f"fourrooms-{letter}": GymTask(
        f"fourrooms-{letter}",
        "MiniGrid-FourRooms-v0",
        {"agent_pos": START, "goal_pos": goal},
        seed=1,
    )
    for letter, goal in (("a", (15, 15)), ("b", (15, 3)))
}
SPECIAL = {
    **INTERFERENCE,
    "fourrooms-random": GymTask("fourrooms-random", "MiniGrid-FourRooms-v0"),
}
ALIASES = {"doorkey-9x9": "doorkey-8x8", "fourrooms": "fourrooms-random"}
CONTINUAL = ("doorkey-8x8", "lavacrossing-s9n1", "simplecrossing-s9n1")  # the paper's three
QUICK = ("doorkey-5x5", "lavagap-s5", "empty-random-5x5")  # smaller, for a laptop


def short_name(env_id: str) -> str:
    """ "MiniGrid-LavaCrossingS9N1-v0" to "lavacrossing-s9n1"; versions after v0 stay named."""
    name = env_id.removeprefix("MiniGrid-").removesuffix("-v0")
    return re.sub(r"(?<=[a-z])S(?=\d)", "-S", name).lower()


@cache
def tasks() -> dict[str, GymTask]:
    """Every task by its name: those of our own, and all that Minigrid registers."""
    ids = [name for name in gymnasium.registry if name.startswith("MiniGrid-")]
    # Ours of `lib.envs.grid.env` have no version; the WFC mazes lack their pictures as installed.
    ids = [name for name in ids if re.search(r"-v\d+$", name) and "-WFC-" not in name]
    listed = {short_name(name): GymTask(short_name(name), name) for name in ids}
    listed.pop("fourrooms", None)
    return {**SPECIAL, **listed}


def resolve(entries: Iterable[str | GymTask]) -> tuple[GymTask, ...]:
    """Task records in the order given.

    Args:
        entries: names in any spelling (`doorkey-5x5`, `DoorKey-5x5`, `LavaGapS5`), the ids that
            gymnasium knows (`MiniGrid-DoorKey-5x5-v0`), or records.

    Raises:
        UserError: an unknown task, one given twice, or none.
    """
    return distinct((_record(entry) for entry in entries), ", ".join(CONTINUAL))


def _record(entry: str | GymTask) -> GymTask:
    if isinstance(entry, GymTask):
        return entry
    if not isinstance(entry, str):
        raise UserError(f"task {short(entry)} is no name; tasks are named, e.g. {CONTINUAL[0]}")
    known = {_spelling(name): task for name, task in tasks().items()}
    known |= {_spelling(alias): tasks()[name] for alias, name in ALIASES.items()}
    plain = _spelling(re.sub(r"(?i)^minigrid-|-v0$", "", entry))
    if plain not in known:
        hint = "any registered MiniGrid environment works"
        raise unknown("minigrid task", entry, [*tasks(), *ALIASES], hint)
    return known[plain]


def _spelling(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


def recipe(task: GymTask, observation: str, device: torch.device | str = "cpu") -> Recipe:
    """How a task is made and read.

    Args:
        task: from `resolve`.
        observation: "symbols" (7, 7, 3), object, colour and state of each cell that is seen; or
            "pixels", the same symbols drawn on the device, a picture of 64x64.
        device: where pictures will be drawn.

    Raises:
        UserError: another observation, or an environment that needs a further package.
    """
    if observation not in OBSERVATIONS:
        raise unknown("observation of minigrid", observation, OBSERVATIONS)
    probe = _make(task)
    shape, count = probe.observation_space["image"].shape, int(probe.action_space.n)
    probe.close()
    return Recipe(
        name=task.name,
        make=lambda: _make(task),
        obs_space=space(shape, observation, device),
        actions=ActionSpace(count, discrete=True),
        read=lambda obs: obs["image"],
        act=lambda row: int(row.argmax()),
        begin=lambda env, seed: env.reset(seed=seed),
        judge=judge,
        cell=cell,
        seed=task.seed,
    )


def judge(reward: float, terminated: bool, info: dict[str, Any]) -> tuple[bool, bool]:
    """Terminal where Minigrid says so; a success if that paid, as the goal does and lava not."""
    return terminated, terminated and reward > 0


def space(shape: tuple[int, ...], observation: str, device: torch.device | str = "cpu") -> ObsSpace:
    """What is stored of a view, (7, 7, 3) uint8 in either case, and how it is drawn."""
    if observation == "symbols":
        return ObsSpace("symbols", shape, torch.uint8, CLASSES)
    return ObsSpace("image", shape, torch.uint8, draw=drawer(shape[:2], device))


def drawer(cells: tuple[int, int], device: torch.device | str = "cpu") -> Tiles:
    """Draws views as Minigrid's own partial picture with tiles of 8 pixels, then 64x64."""
    return Tiles(tile_table(), choose_tile, (cells[1], cells[0]), device=device)


def choose_tile(stored: Tensor) -> Tensor:
    """(..., columns, rows, 3) symbols to the tile of each cell, (..., rows, columns) long.

    Minigrid counts cells as (x, y), pictures as (y, x). The agent stands in the middle of the
    lowest row, upon whatever it carries.
    """
    kind, colour, state = stored.long().unbind(-1)
    tile = ((kind * CLASSES[1] + colour) * CLASSES[2] + state).transpose(-1, -2)
    agent = torch.zeros_like(tile)
    agent[..., -1, tile.shape[-1] // 2] = CLASSES[0] * CLASSES[1] * CLASSES[2]
    return tile + agent


@cache
def tile_table() -> Tensor:
    """(2 * 198, 8, 8, 3) uint8: each symbol as it is seen, then with the agent on top.

    What is seen is highlighted; what is not is drawn as an empty cell without. Combinations that
    no view holds are drawn like an empty cell.
    """
    table = np.zeros((2, *CLASSES, TILE, TILE, 3), dtype=np.uint8)
    for heading in (None, UP):
        agent = int(heading is not None)
        table[agent] = Grid.render_tile(None, heading, True, TILE)
        table[agent, OBJECT_TO_IDX["unseen"]] = Grid.render_tile(None, heading, False, TILE)
        for kind, colour, state in _symbols():
            thing = WorldObj.decode(kind, colour, state)
            # The cell below the agent shows what is carried, and doors or walls are not.
            if heading is None or thing.can_pickup():
                table[agent, kind, colour, state] = Grid.render_tile(thing, heading, True, TILE)
    return torch.from_numpy(table).flatten(0, 3)


def _symbols() -> Iterable[tuple[int, int, int]]:
    """Symbols that Minigrid gives its objects: colours of most, three states of doors."""
    for kind in ("wall", "floor", "door", "key", "ball", "box", "goal", "lava"):
        colours = {"goal": ("green",), "lava": ("red",)}.get(kind, COLOR_TO_IDX)
        for colour in colours:
            for state in range(CLASSES[2] if kind == "door" else 1):
                yield OBJECT_TO_IDX[kind], COLOR_TO_IDX[colour], state


def _make(task: GymTask) -> gymnasium.Env:
    try:
        return gymnasium.make(task.env_id, disable_env_checker=True, **task.options)
    except ImportError as error:
        raise UserError(f"task {task.name!r} needs a further package: {error}") from error


def cell(env: gymnasium.Env) -> int:
    x, y = env.unwrapped.agent_pos
    return int(y) * env.unwrapped.width + int(x)


def build(
    env: "EnvConfig", entries: Iterable[str | GymTask], device: torch.device | str = "cpu"
) -> GymDomain:
    """The stream that a configuration describes.

    Raises:
        UserError: what `resolve` and `recipe` say, tasks that differ, an action repeat.
    """
    check_lengths(env)
    tasks = resolve(entries)
    recipes = tuple(recipe(task, env.observation, device) for task in tasks)
    picture = drawer(recipes[0].obs_space.shape[:2], device)
    best = 1.0  # the goal pays 1, less for the time it takes
    return GymDomain(tasks, recipes, env.episode_length, device, best, picture)


WORLD = World(
    resolve=lambda env, entries: resolve(entries),
    build=build,
    observations=("symbols", "pixels"),
    ends_early=True,
    has_cells=True,
)
