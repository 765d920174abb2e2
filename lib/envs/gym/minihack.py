"""The tasks of MiniHack, an optional extra: names, the glyphs that are stored, and pictures.

Where we differ from Continual-Dreamer's code: the map is never drawn, only what is stored is, on
the device; evaluation has environments of its own; every episode has a seed.
"""

import importlib.util
import re
import warnings
from collections.abc import Iterable
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
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

MISSING = "MiniHack is not installed; run `.venv/bin/pip install -e '.[minihack]'`"
NEEDED = ("nle", "minihack", "pkg_resources")  # the last one left setuptools with version 82
CROP = 9  # cells a side of what the agent sees around itself
BORDER = 2  # black pixels around 9 x 16 = 144, as the paper's pictures have
CLASSES = 128, 16  # characters and colours of the terminal
OBSERVATIONS = {"pixels": ("glyphs_crop",), "symbols": ("chars_crop", "colors_crop")}
RULES = {
    "character": "mon-hum-neu-mal",  # a human monk, neutral and male
    "reward_win": 1,
    "reward_lose": 0,  # as the authors' code; the paper says -1
    "penalty_mode": "constant",
    "penalty_step": -0.001,  # for a decision in which the game's clock stood still
}

EIGHT = tuple(
    GymTask(name.lower(), f"MiniHack-{name}-v0")
    for name in (
        "Room-Random-15x15",
        "Room-Monster-15x15",
        "Room-Trap-15x15",
        "Room-Ultimate-15x15",
        "River-Narrow",
        "River",
        "River-Monster",
        "HideNSeek",
    )
)
FOUR = ("room-random-15x15", "room-trap-15x15", "river-narrow", "river-monster")


def resolve(entries: Iterable[str | GymTask]) -> tuple[GymTask, ...]:
    """Task records in the order given.

    Args:
        entries: names in any spelling (`river-narrow`, `Room-Random-15x15`), the ids that
            gymnasium knows (`MiniHack-River-v0`), or records. The paper's eight are known without
            MiniHack, so that configurations can be read anywhere.

    Raises:
        UserError: an unknown task, one given twice, none, or one beyond the eight while MiniHack
            is not installed.
    """
    return distinct((_record(entry) for entry in entries), ", ".join(FOUR))


def _record(entry: str | GymTask) -> GymTask:
    if isinstance(entry, GymTask):
        return entry
    if not isinstance(entry, str):
        raise UserError(f"task {short(entry)} is no name; tasks are named, e.g. {FOUR[0]}")
    plain = _spelling(re.sub(r"(?i)^minihack-|-v0$", "", entry))
    listed = {_spelling(task.name): task for task in EIGHT}
    if plain in listed:
        return listed[plain]
    package()
    prefix = "MiniHack-"
    ids = [name for name in gymnasium.registry if name.startswith(prefix)]
    names = {name.removeprefix(prefix).removesuffix("-v0").lower(): name for name in ids}
    found = {_spelling(name): GymTask(name, env_id) for name, env_id in names.items()}
    if plain not in found:
        hint = "any registered MiniHack environment works"
        raise unknown("minihack task", entry, names, hint)
    return found[plain]


def _spelling(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


@cache
def package() -> ModuleType:
    """MiniHack, imported at the first call.

    Raises:
        UserError: it is not installed.
    """
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise UserError(MISSING)
    with warnings.catch_warnings():
        # It imports pkg_resources, which warns of its own end; the extra pins setuptools below it.
        warnings.simplefilter("ignore")
        return importlib.import_module("minihack")


def recipe(task: GymTask, observation: str, device: torch.device | str = "cpu") -> Recipe:
    """How a task is made and read.

    Args:
        task: from `resolve`.
        observation: "pixels", glyphs (9, 9) int16 that are drawn on the device as a picture of
            64x64; or "symbols" (9, 9, 2) uint8, character and colour of each cell.
        device: where pictures will be drawn.

    Raises:
        UserError: another observation, or MiniHack is not installed.
    """
    package()
    if observation not in OBSERVATIONS:
        raise unknown("observation of minihack", observation, OBSERVATIONS)
    make = partial(_make, task, OBSERVATIONS[observation])
    probe = make()
    count = int(probe.action_space.n)  # 8 compass directions where only walking is asked for
    probe.close()
    return Recipe(
        name=task.name,
        make=make,
        obs_space=space(observation, device),
        actions=ActionSpace(count, discrete=True),
        read=_symbols if observation == "symbols" else _glyphs,
        act=lambda row: int(row.argmax()),
        begin=_begin,
        judge=judge,
        seed=task.seed,
    )


def judge(reward: float, terminated: bool, info: dict[str, Any]) -> tuple[bool, bool]:
    """Terminal unless the game's own limit of steps stopped it; a success on the stairs."""
    status = info["end_status"]
    return terminated and status != status.ABORTED, status == status.TASK_SUCCESSFUL


def space(observation: str, device: torch.device | str = "cpu") -> ObsSpace:
    """What is stored of the agent's surroundings, and how it is drawn."""
    if observation == "symbols":
        return ObsSpace("symbols", (CROP, CROP, 2), torch.uint8, CLASSES)
    return ObsSpace("image", (CROP, CROP), torch.int16, draw=drawer(device))


def drawer(device: torch.device | str = "cpu") -> Tiles:
    """Draws glyphs (..., 9, 9) as MiniHack's `pixel_crop`, on black 148x148, then 64x64."""
    return Tiles(tile_table(), Tensor.long, (CROP, CROP), BORDER, device)


@cache
def tile_table() -> Tensor:
    """(5976, 16, 16, 3) uint8: a tile for every glyph."""
    tiles = package().tiles
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file of tiles open
        pictures, tile_of = tiles.GlyphMapper().tiles, tiles.glyph2tile
    return torch.from_numpy(np.stack([pictures[tile] for tile in tile_of]))


def _glyphs(obs: dict[str, np.ndarray]) -> np.ndarray:
    return obs["glyphs_crop"]


def _symbols(obs: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack((obs["chars_crop"], obs["colors_crop"]), axis=-1)


def _begin(env: gymnasium.Env, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    # reset(seed=...) is ignored. Without reseeding, NetHack draws all chance from these two.
    env.unwrapped.seed(seed, seed, reseed=False)
    return env.reset()


def _make(task: GymTask, keys: tuple[str, ...]) -> gymnasium.Env:
    options = {**RULES, "observation_keys": keys, **task.options}
    return gymnasium.make(task.env_id, disable_env_checker=True, **options)


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
    best = 1.0  # the stairs pay 1
    return GymDomain(tasks, recipes, env.episode_length, device, best)


WORLD = World(
    resolve=lambda env, entries: resolve(entries),
    build=build,
    observations=("symbols", "pixels"),
    ends_early=True,
)
