"""Worlds by name. A row is imported when its world is first asked for.

A new world is a folder with a `World` in it, and one row here.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from lib.core.errors import UserError, short, unknown
from lib.core.plain import plain_name
from lib.envs import padding, turns
from lib.envs.api import Domain, World

if TYPE_CHECKING:
    from lib.core.config import EnvConfig

WORLDS: dict[str, str | World] = {
    # To the module and the name of its World, or the world itself.
    "grid": "lib.envs.grid.domain:WORLD",
    "cheetah": "lib.envs.control.domain:WORLD",
    "walker": "lib.envs.control.domain:WORLD",
    "dmc": "lib.envs.pixels.domain:WORLD",  # dm_control's suite from pixels
    "dmc-states": "lib.envs.dmc_states.domain:WORLD",  # the same as the numbers that it names
    "pendulum": "lib.envs.pendulum.domain:WORLD",
    "bullet": "lib.envs.bullet.domain:WORLD",  # PyBullet's bodies
    "point-mass": "lib.envs.point_mass.domain:WORLD",
    "metaworld": "lib.envs.metaworld.domain:WORLD",
    "mtdmc": "lib.envs.mtdmc.domain:WORLD",  # metaworld and dmc-states in one stream
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


def described(env: "EnvConfig") -> str:
    """Returns what is seen of a world, in a few words."""
    if env.domain == "grid":
        return f"{env.size} × {env.size} cells"
    if env.observation != "pixels" or not of(env).sized:
        return env.domain
    seen = f"{env.domain}, {env.image_size} × {env.image_size} pixels"
    return seen if env.background == "plain" else f"{seen}, before {env.background}"


def resolve(env: "EnvConfig", entries: Iterable[str | Mapping]) -> tuple[Any, ...]:
    """Task records in the order given, each with .name and .after.

    An entry is a task's, or a mapping with `name` and `turns`, see `lib.envs.turns`.

    Raises:
        UserError: an unknown world or task, one of another world, one given twice, none, or a
            name that is no plain file name, of which the names of its films would be made.
    """
    entries = tuple(entries)
    for entry in entries:
        if isinstance(entry, Mapping) and not isinstance(entry.get("name", ""), str):
            raise UserError(f"task name {short(entry['name'])} is no text; put quotes around it")
        if entry is None or isinstance(entry, list | tuple | int | float):
            raise UserError(f"task {short(entry)} is none; give a name, or a mapping with one")
    world, stream = of(env), turns.layout(entries)
    if stream.mixed and (world.handed_over or not world.ends_early):
        raise UserError(
            f"{env.domain} plays one task at a time; worlds whose tasks may take turns: "
            f"{', '.join(where(lambda world: world.ends_early and not world.handed_over))}"
        )
    single = world.resolve(env, stream.entries)
    _check_padding(env, world, single)
    tasks = stream.tasks(single)
    for task in (*single, *tasks):
        plain_name(task.name, "task name")
    return tasks


def _check_padding(env: "EnvConfig", world: World, tasks: tuple[Any, ...]) -> None:
    """Raises UserError where actions are to be padded that cannot, or to too few numbers."""
    asked = {"min_actions": env.min_actions, "min_numbers": env.min_numbers}
    asked["mask_padding"] = env.mask_padding
    for name, value in asked.items():
        if value and not world.pads:
            raise UserError(
                f"env.{name} {value}: the tasks of {env.domain} are not padded; leave it out (of "
                f"use in {', '.join(where(lambda world: world.pads))})"
            )
    sizes = {task.name: task.actions for task in tasks if hasattr(task, "actions")}
    if sizes:
        padding.width(sizes, env.min_actions, "env.min_actions")


def build(
    env: "EnvConfig", entries: Iterable[str | Mapping], device: torch.device | str = "cpu"
) -> Domain:
    """The world and the tasks that a configuration describes.

    Raises:
        UserError: what `resolve` says, settings that make no world, or MuJoCo is not installed.
    """
    entries = tuple(entries)
    resolve(env, entries)
    world, stream = of(env), turns.layout(entries)
    domain = world.build(env, stream.entries, device)
    if world.pads:
        numbers = max(env.min_numbers, world.least_numbers)
        domain = padding.padded(domain, env.min_actions, numbers, env.mask_padding)
    return stream.around(domain)
