"""Any gymnasium environment as a task: what it shows and what it takes are found out here."""

import copy
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from minigrid.minigrid_env import MiniGridEnv
from torch import Tensor

from lib.core.errors import UserError, unknown
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.gym import minigrid
from lib.envs.gym.batch import Recipe
from lib.envs.gym.domain import GymDomain
from lib.envs.gym.rules import blamed
from lib.envs.gym.tasks import GymTask, distinct
from lib.envs.gym.tiles import SIDE, nearest

Factory = Callable[[], gymnasium.Env]
EPISODE = 1000  # decisions, where neither the caller nor the environment says
OBSERVATIONS = ("state", "pixels", "symbols")
FIELDS = ("name", "id", "options")
OBS_WORKS = (
    "what works: a flat Box, a uint8 Box of (height, width, 3) or (height, width, 1), Discrete, "
    "and Minigrid's symbols"
)
ACTIONS_WORK = "what works: Discrete, and a flat Box with finite bounds"


class Reading(NamedTuple):
    """An environment as a learner sees it."""

    obs_space: ObsSpace
    actions: ActionSpace
    read: Callable[[Any], np.ndarray]  # an observation to what is stored
    act: Callable[[np.ndarray], Any]  # (A,) float32 to an action


def describe(
    env: gymnasium.Env, observation: str = "state", device: torch.device | str = "cpu"
) -> Reading:
    """Finds out what an environment shows and what it takes.

    | It shows | a learner gets |
    |---|---|
    | Box, flat | vector, float32 |
    | Discrete | vector, one-hot |
    | Box uint8 (height, width, 3 or 1) | image 64x64x3, the nearest pixels |
    | Minigrid's view, or a Dict with it | symbols; or an image drawn from them |

    | It takes | a learner gives |
    |---|---|
    | Discrete | one-hot |
    | Box, flat and finite | [-1, 1], stretched to the bounds |

    Args:
        env: a gymnasium environment.
        observation: "state" takes what it shows, "pixels" and "symbols" ask for those.
        device: where pictures of Minigrid will be drawn.

    Raises:
        UserError: spaces that nothing here can read, or another observation than it offers.
    """
    if observation not in OBSERVATIONS:
        raise unknown("observation", observation, OBSERVATIONS)
    obs_space, read = _observation(env, observation, device)
    wanted = {"state": obs_space.kind, "pixels": "image", "symbols": "symbols"}[observation]
    if obs_space.kind != wanted:
        raise UserError(
            f"{named(env)} shows a {obs_space.kind}, not {observation}; set "
            "env.observation=state to take what it shows, or wrap it, for example in "
            "gymnasium.wrappers.AddRenderObservation for pixels"
        )
    actions, act = _action(env)
    return Reading(obs_space, actions, read, act)


def _observation(
    env: gymnasium.Env, observation: str, device: torch.device | str
) -> tuple[ObsSpace, Callable[[Any], np.ndarray]]:
    space, key = env.observation_space, None
    if _is_minigrid(env) and isinstance(space, spaces.Dict) and "image" in space.spaces:
        space, key = space["image"], "image"  # the mission, a sentence, is left out

    def part(obs: Any) -> Any:
        return obs if key is None else obs[key]

    if isinstance(space, spaces.Discrete):
        first, eye = int(space.start), np.eye(int(space.n), dtype=np.float32)
        return ObsSpace("vector", (len(eye),)), lambda obs: eye[int(part(obs)) - first]
    if not isinstance(space, spaces.Box):
        raise _unreadable(env, space)
    shape = space.shape
    if _is_minigrid(env) and shape == (env.unwrapped.agent_view_size,) * 2 + (3,):
        kind = "pixels" if observation == "pixels" else "symbols"
        return minigrid.space(shape, kind, device), part
    if space.dtype == np.uint8 and len(shape) == 3 and shape[2] in (1, 3):
        if min(shape[:2]) < SIDE // 2:
            raise _unreadable(env, space, "a picture that small may be a table of symbols")
        rows, columns = (nearest(side).numpy() for side in shape[:2])

        def resized(obs: Any) -> np.ndarray:
            seen = np.asarray(part(obs))[rows][:, columns]
            return np.broadcast_to(seen, (SIDE, SIDE, 3))

        return ObsSpace("image", (SIDE, SIDE, 3), torch.uint8), resized
    if len(shape) > 1:
        raise _unreadable(env, space)
    size = int(np.prod(shape))
    return (
        ObsSpace("vector", (size,)),
        lambda obs: np.asarray(part(obs), dtype=np.float32).reshape(size),
    )


def _action(env: gymnasium.Env) -> tuple[ActionSpace, Callable[[np.ndarray], Any]]:
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return ActionSpace(int(space.n), discrete=True), lambda row: first + int(row.argmax())
    if not isinstance(space, spaces.Box):
        raise UserError(
            f"{named(env)} takes actions of {space}; {ACTIONS_WORK}; try a "
            "gymnasium.ActionWrapper that lists the combinations as one Discrete"
        )
    if len(space.shape) != 1 or not space.is_bounded():
        raise UserError(
            f"{named(env)} takes actions of {space}; {ACTIONS_WORK}; try "
            "gymnasium.wrappers.TransformAction with a flat Box whose bounds are finite"
        )
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)

    def stretched(row: np.ndarray) -> np.ndarray:
        share = (np.clip(row, -1, 1) + 1) / 2
        return np.clip(low + share * (high - low), low, high).astype(space.dtype)

    return ActionSpace(space.shape[0], discrete=False), stretched


def _unreadable(env: gymnasium.Env, space: spaces.Space, why: str = "") -> UserError:
    reason = f" ({why})" if why else ""
    return UserError(
        f"{named(env)} shows {space}{reason}; {OBS_WORKS}; try "
        "gymnasium.wrappers.FlattenObservation, or FilterObservation to leave parts of a Dict out"
    )


def _is_minigrid(env: gymnasium.Env) -> bool:
    return isinstance(env.unwrapped, MiniGridEnv)


def named(env: gymnasium.Env) -> str:
    """What to call an environment: its id, or else its class; no slashes, lower case."""
    known = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    return short_name(known)


def short_name(env_id: str) -> str:
    """ "Workbook/CheetahJump-v0" to "workbook-cheetahjump-v0", fit for metrics and files."""
    return env_id.rpartition(":")[2].replace("/", "-").replace("_", "-").lower()


def resolve(entries: Iterable[str | Mapping | GymTask]) -> tuple[GymTask, ...]:
    """Task records in the order given.

    Args:
        entries: ids that gymnasium knows ("CartPole-v1"), mappings with name, id and options
            (keywords of the environment), or records. They may come from a file, so "module:Id-v0"
            is refused, which would import that module.

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
            f"task {entry!r} is none; give an id, or a mapping with {', '.join(FIELDS)}"
        )
    for field in entry:
        if field not in FIELDS:
            raise unknown("task field", field, FIELDS)
    env_id = str(entry["id"])
    _check_known(env_id)
    return GymTask(str(entry.get("name", short_name(env_id))), env_id, entry.get("options") or {})


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


def recipe(task: GymTask, observation: str = "state", device: torch.device | str = "cpu") -> Recipe:
    """How a registered environment is made and read; see `describe`."""
    return _recipe(partial(_make, task), task, observation, device)[0]


def own_domain(
    worlds: Any,
    episode_length: int | None = None,
    observation: str = "state",
    device: torch.device | str = "cpu",
) -> GymDomain:
    """A stream of one's own environments.

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
    return GymDomain(
        tuple(tasks),
        tuple(recipes),
        episode_length or max(limits),
        device,
        picture=picture(recipes[0].obs_space, device),
    )


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
    reading, is_minigrid = describe(probe, observation, device), _is_minigrid(probe)
    name = task.name if task else named(probe)
    limit = probe.spec.max_episode_steps if probe.spec is not None else None
    limit = limit or (probe.unwrapped.max_steps if is_minigrid else None)
    probe.close()
    made = Recipe(
        name=name,
        make=factory,
        obs_space=reading.obs_space,
        actions=reading.actions,
        read=reading.read,
        act=reading.act,
        begin=lambda env, seed: env.reset(seed=seed),
        judge=minigrid.judge if is_minigrid else judge,
        cell=minigrid.cell if is_minigrid else None,
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
