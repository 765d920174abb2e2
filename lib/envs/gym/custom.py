"""Any gymnasium environment as a task: registered under an id, or handed over as an object."""

import copy
import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium
import torch
from torch import Tensor

from lib.core.errors import UserError, short, unknown
from lib.core.spaces import ObsSpace
from lib.envs import padding
from lib.envs.api import Domain, World
from lib.envs.gym import minigrid
from lib.envs.gym.batch import Recipe
from lib.envs.gym.domain import GymDomain
from lib.envs.gym.reading import OBSERVATIONS, describe, is_minigrid, named, short_name
from lib.envs.gym.repeating import Repeated
from lib.envs.gym.rules import blamed
from lib.envs.gym.tasks import GymTask, distinct
from lib.envs.lengths import decisions

if TYPE_CHECKING:
    from lib.core.config import EnvConfig

Factory = Callable[[], gymnasium.Env]
EPISODE = 1000  # decisions, where neither the caller nor the environment says
FIELDS = ("name", "id", "options")
WORD = re.compile(r"[\w +-]*")  # what a text in a configuration's options may be


def resolve(entries: Iterable[str | Mapping | GymTask]) -> tuple[GymTask, ...]:
    """Task records in the order given.

    Args:
        entries: ids that gymnasium knows ("CartPole-v1"), mappings with name, id and options
            (keywords of the environment), or records. They may come from a file, so "module:Id-v0"
            is refused, which would import that module, and so are paths in options.

    Raises:
        UserError: an unknown id or field, a name given twice, none.
    """
    return distinct((_record(entry) for entry in entries), "CartPole-v1")


def _record(entry: str | Mapping | GymTask) -> GymTask:
    if isinstance(entry, GymTask):
        return entry
    if isinstance(entry, str):
        _check_known(entry)
        return GymTask(short_name(entry), entry)
    if not isinstance(entry, Mapping) or "id" not in entry:
        raise UserError(
            f"task {short(entry)} is none; give an id, or a mapping with {', '.join(FIELDS)}"
        )
    for field in entry:
        if field not in FIELDS:
            raise unknown("task field", field, FIELDS)
    env_id = str(entry["id"])
    _check_known(env_id)
    options = entry.get("options") or {}
    _check_harmless(env_id, options)
    return GymTask(str(entry.get("name", short_name(env_id))), env_id, options)


def _check_harmless(env_id: str, options: Any) -> None:
    """Raises UserError unless options are numbers, plain words, and lists and mappings of these.

    They may come from a file: a path would be read, and a name with a module might be imported.
    """
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise UserError(
            f"options of environment {env_id!r}: {short(options)} is no mapping of keywords"
        )

    def parts(value: Any) -> Iterable[Any]:
        if isinstance(value, Mapping):
            value = [*value.keys(), *value.values()]
        return value if isinstance(value, list | tuple) else ()

    left = list(options.values())
    while left:
        value = left.pop()
        left += parts(value)
        if isinstance(value, str) and not WORD.fullmatch(value):
            raise UserError(
                f"options of environment {env_id!r}: {value!r} may name a file or a module, which "
                "no configuration may have read; hand the environment over instead, with "
                "lib.experiments.custom_env.train(lambda: ...)"
            )


def _check_known(env_id: str) -> None:
    """Raises UserError unless gymnasium knows the id; nothing is imported for it."""
    module, _, name = env_id.rpartition(":")
    if module:
        raise UserError(
            f"environment {env_id!r} names a module, which no file may have imported; say "
            f"'--import {module}' on the command line, and call the environment {name!r}"
        )
    try:
        gymnasium.spec(name)
    except gymnasium.error.Error as error:
        hint = "gymnasium.pprint_registry() lists all; or import the package that registers it"
        raise unknown("environment", env_id, gymnasium.registry, hint) from error


def _imported(env_id: str) -> str:
    """The id without the module that it names, which is imported: the caller's own wish."""
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"environment {env_id!r} cannot be imported: {error}") from error
    return name


def recipe(
    task: GymTask,
    observation: str = "state",
    device: torch.device | str = "cpu",
    repeat: int = 1,
) -> Recipe:
    """How a registered environment is made, read, and stepped `repeat` times a decision.

    See `describe`.
    """
    make = partial(_make, task) if repeat == 1 else lambda: Repeated(_make(task), repeat)
    return _recipe(make, task, observation, device)[0]


def custom_domain(
    worlds: Any,
    episode_length: int | None = None,
    observation: str = "state",
    device: torch.device | str = "cpu",
) -> Domain:
    """A stream of environments that are handed over.

    Args:
        worlds: an id that gymnasium knows, an environment, a function without arguments that
            makes one, or a list of these: the tasks in order.
        episode_length: decisions after which an episode is cut; left out, the environment's own
            limit, or 1000.
        observation: see `describe`.
        device: of observations, rewards and pictures.

    Raises:
        UserError: what `describe` says, an unknown id, an environment that cannot be copied,
            something else altogether, or none.
    """
    listed = worlds if isinstance(worlds, Sequence) and not isinstance(worlds, str) else [worlds]
    tasks: list[GymTask] = []
    recipes, limits = [], []
    for world in listed:
        factory = _factory(world)
        made, limit = _recipe(factory, None, observation, device)
        name = _new_name(made.name, [task.name for task in tasks])
        recipes.append(replace(made, name=name))
        tasks.append(GymTask(name, world if isinstance(world, str) else ""))
        limits.append(limit or EPISODE)
    distinct(tasks, "CartPole-v1")
    domain = GymDomain(
        tuple(tasks),
        tuple(recipes),
        episode_length or max(limits),
        device,
        picture=picture(recipes[0].obs_space, device),
    )
    return padding.padded(domain)


def picture(space: ObsSpace, device: torch.device | str) -> Callable[[Tensor], Tensor] | None:
    """Draws stored symbols, which are always Minigrid's; None where the space can or cannot."""
    return minigrid.drawer(space.shape[:2], device) if space.kind == "symbols" else None


def _recipe(
    factory: Factory, task: GymTask | None, observation: str, device: torch.device | str
) -> tuple[Recipe, int | None]:
    """The recipe, and the environment's own limit of steps, if it has one."""
    with blamed(task.name if task else "environment", "making it"):
        probe = factory()
    if not isinstance(probe, gymnasium.Env):
        raise UserError(
            f"the factory made {_what(probe)}, not a gymnasium.Env; environments for the older "
            "gym can be wrapped with the package shimmy"
        )
    reading, of_minigrid = describe(probe, observation, device), is_minigrid(probe)
    name = task.name if task else named(probe)
    limit = probe.spec.max_episode_steps if probe.spec is not None else None
    limit = limit or (probe.unwrapped.max_steps if of_minigrid else None)
    probe.close()
    made = Recipe(
        name=name,
        make=factory,
        obs_space=reading.obs_space,
        actions=reading.actions,
        read=reading.read,
        act=reading.act,
        begin=lambda env, seed: env.reset(seed=seed),
        judge=minigrid.judge if of_minigrid else judge,
        cell=minigrid.cell if of_minigrid else None,
        seed=task.seed if task else None,
        promised=probe.observation_space,
    )
    return made, limit


def judge(reward: float, terminated: bool, info: dict[str, Any]) -> tuple[bool, bool]:
    """Terminal where the environment says so; a success where its info says so."""
    return terminated, bool(info.get("is_success", info.get("success", False)))


def _make(task: GymTask) -> gymnasium.Env:
    try:
        return gymnasium.make(task.env_id, disable_env_checker=True, **task.options)
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise UserError(f"environment {task.env_id!r} needs a further package: {error}") from error
    except TypeError as error:
        raise UserError(f"environment {task.env_id!r} was not made: {error}") from error


def _factory(world: Any) -> Factory:
    if isinstance(world, str):
        return partial(_make, _record(_imported(world)))
    if isinstance(world, gymnasium.Env):
        return _copies(world)
    if callable(world):
        return world
    raise UserError(
        f"{_what(world)} is no environment; hand an id such as 'CartPole-v1', a gymnasium.Env, a "
        "function without arguments that makes one, or a list of these"
    )


def _copies(env: gymnasium.Env) -> Factory:
    """Makes further environments like this one: by copying, or as gymnasium made it."""
    for make in (partial(copy.deepcopy, env), partial(_again, env)):
        try:
            make().close()
        except Exception:  # whatever an environment that resists may raise
            continue
        return make
    raise UserError(
        f"{named(env)} can be neither copied nor made again, and several copies are needed; hand "
        "a function without arguments that makes one: lambda: MyEnv(...)"
    )


def _again(env: gymnasium.Env) -> gymnasium.Env:
    return gymnasium.make(env.spec, disable_env_checker=True)


def _new_name(name: str, taken: list[str]) -> str:
    number, new = 1, name
    while new in taken:
        number += 1
        new = f"{name}-{number}"
    return new


def _what(thing: Any) -> str:
    return f"{thing!r} of type {type(thing).__name__}"


def build(
    env: "EnvConfig", entries: Iterable[str | Mapping | GymTask], device: torch.device | str = "cpu"
) -> GymDomain:
    """The stream of registered environments that a configuration describes.

    Raises:
        UserError: what `resolve` and `describe` say, environments that differ in kind, or an
            episode that would end within a decision.
    """
    length, tasks = decisions(env.episode_length, env.action_repeat), resolve(entries)
    recipes = tuple(recipe(task, env.observation, device, env.action_repeat) for task in tasks)
    drawn = picture(recipes[0].obs_space, device)
    return GymDomain(tasks, recipes, length, device, picture=drawn, action_repeat=env.action_repeat)


def _names(env: "EnvConfig", entries: Iterable[Any]) -> tuple[GymTask, ...]:
    """Of environments that were handed over as objects, names are all there is to know."""

    return distinct((GymTask(str(entry)) for entry in entries), "cartpole-v1")


def _not_from_here(
    env: "EnvConfig", entries: Iterable[Any], device: torch.device | str = "cpu"
) -> GymDomain:
    names = ", ".join(task.name for task in _names(env, entries))
    raise UserError(
        f"the environments of this run ({names}) were handed over from a notebook; go on with "
        "lib.experiments.custom_env.train(environment, ..., out_dir) there"
    )


REGISTERED = World(
    resolve=lambda env, entries: resolve(entries),
    build=build,
    observations=OBSERVATIONS,
    ends_early=True,
    repeats=True,
    pads=True,
)
HANDED_OVER = World(
    resolve=_names,
    build=_not_from_here,
    observations=OBSERVATIONS,
    ends_early=True,
    handed_over=True,
)
