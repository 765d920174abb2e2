"""Worlds by name. A row is imported when its world is first asked for.

A new world is a folder with a `World` in it, and one row here.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from lib.core.errors import unknown
from lib.envs.api import Domain, World

if TYPE_CHECKING:
    from lib.core.config import EnvConfig

WORLDS: dict[str, str | World] = {
    # To the module and the name of its World, or the world itself.
    "grid": "lib.envs.grid.domain:WORLD",
    "cheetah": "lib.envs.control.domain:WORLD",
    "walker": "lib.envs.control.domain:WORLD",
    "minigrid": "lib.envs.gym.minigrid:WORLD",
    "minihack": "lib.envs.gym.minihack:WORLD",
    "gymnasium": "lib.envs.gym.custom:REGISTERED",  # whatever is registered there
    "custom": "lib.envs.gym.custom:HANDED_OVER",  # see `lib.experiments.custom_env`
}


def of(env: "EnvConfig") -> World:
    """The world that a configuration names.

    Raises:
        UserError: there is none of that name.
    """
    if env.domain not in WORLDS:
        raise unknown("value for 'env.domain'", env.domain, WORLDS)
    return _row(env.domain)


def where(has: Callable[[World], bool]) -> list[str]:
    """Names of the worlds of which something is true."""
    return [name for name in WORLDS if has(_row(name))]


def _row(name: str) -> World:
    row = WORLDS[name]
    if isinstance(row, World):
        return row
    module, _, attribute = row.partition(":")
    return getattr(import_module(module), attribute)


def resolve(env: "EnvConfig", entries: Iterable[str | Mapping]) -> tuple[Any, ...]:
    """Task records in the order given, each with .name and .after.

    Raises:
        UserError: an unknown world or task, one of another world, one given twice, or none.
    """
    return of(env).resolve(env, entries)


def build(
    env: "EnvConfig", entries: Iterable[str | Mapping], device: torch.device | str = "cpu"
) -> Domain:
    """The world and the tasks that a configuration describes.

    Raises:
        UserError: what `resolve` says, settings that make no world, or MuJoCo is not installed.
    """
    return of(env).build(env, entries, device)
