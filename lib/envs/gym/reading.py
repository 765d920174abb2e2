"""What a gymnasium environment shows and what it takes, as a learner sees it."""

import math
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from minigrid.minigrid_env import MiniGridEnv

from lib.core.errors import UserError, unknown
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.gym import minigrid, pictures, vectors
from lib.envs.gym.tiles import SIDE

OBSERVATIONS = ("state", "pixels", "symbols")
MOST_ACTIONS = 256  # combinations that are listed as one Discrete
OBS_WORKS = (
    "what works: Box of numbers or pictures, Discrete, MultiDiscrete, MultiBinary, a Dict of these "
    "with one picture at most, and Minigrid's symbols"
)
ACTIONS_WORK = (
    f"what works: Discrete, MultiDiscrete and MultiBinary of at most {MOST_ACTIONS} combinations, "
    "and a flat Box with finite bounds"
)


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
    | Box of one or two axes | vector, float32 |
    | Discrete, MultiDiscrete, MultiBinary | vector, one-hot each |
    | Box that is a picture, see `pictures` | image 64x64x3, the nearest pixels |
    | Dict of these without a picture | vector of all parts in order |
    | Dict with one picture | image, the other numbers drawn as grey squares below the picture |
    | Minigrid's view, or a Dict with it | symbols; or an image drawn from them |

    | It takes | a learner gives |
    |---|---|
    | Discrete | one-hot |
    | MultiDiscrete, MultiBinary | one-hot over all combinations, 256 at most |
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
    space = env.observation_space
    if is_minigrid(env):
        inner = isinstance(space, spaces.Dict) and "image" in space.spaces
        view = space["image"] if inner else space  # the mission, a sentence, is left out
        if view.shape == (env.unwrapped.agent_view_size,) * 2 + (3,):
            kind = "pixels" if observation == "pixels" else "symbols"
            read = itemgetter("image") if inner else _unchanged
            return minigrid.space(view.shape, kind, device), read
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    shown = {name: pictures.reader(part) for name, part in parts.items()}
    seen = [name for name, read in shown.items() if read is not None]
    if len(seen) > 1:
        raise _unreadable(env, space, "with more than one picture")
    told = {name: vectors.reader(part) for name, part in parts.items() if name not in seen}
    for name, read in told.items():
        if read is None:
            raise _unreadable(env, parts[name], pictures.doubt(parts[name]))

    def part(obs: Any, name: str) -> Any:
        return obs[name] if name else obs

    def numbers(obs: Any) -> np.ndarray:
        return np.concatenate([read(part(obs, name)) for name, read in told.items()])

    size = sum(read.size for read in told.values())
    if not seen:
        return ObsSpace("vector", (size,)), numbers
    if size > pictures.MOST_NUMBERS:
        raise _unreadable(
            env, space, f"{size} numbers beside a picture, {pictures.MOST_NUMBERS} fit"
        )
    (name,) = seen
    image = ObsSpace("image", (SIDE, SIDE, 3), torch.uint8)
    if not told:
        return image, lambda obs: shown[name](part(obs, name))
    squashed = {key: vectors.squasher(parts[key]) for key in told}

    def both(obs: Any) -> np.ndarray:
        shares = [squashed[key](told[key](part(obs, key))) for key in told]
        return pictures.beside(shown[name](part(obs, name)), np.concatenate(shares))

    return image, both


def _unchanged(obs: Any) -> Any:
    return obs


def _action(env: gymnasium.Env) -> tuple[ActionSpace, Callable[[np.ndarray], Any]]:
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return ActionSpace(int(space.n), discrete=True), lambda row: first + int(row.argmax())
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return _combinations(env, space)
    if not isinstance(space, spaces.Box):
        raise UserError(
            f"{named(env)} takes actions of {space}; {ACTIONS_WORK}; try a "
            "gymnasium.ActionWrapper that makes one of these of it"
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


def _combinations(
    env: gymnasium.Env, space: spaces.MultiDiscrete | spaces.MultiBinary
) -> tuple[ActionSpace, Callable[[np.ndarray], Any]]:
    """All combinations as one discrete choice, the last number counting fastest."""
    if isinstance(space, spaces.MultiDiscrete):
        counts, start = space.nvec.ravel().tolist(), space.start
    else:
        counts, start = [2] * int(np.prod(space.shape)), 0
    total = math.prod(counts)
    if total > MOST_ACTIONS:
        raise UserError(
            f"{named(env)} takes actions of {space}, {total} combinations; {ACTIONS_WORK}; try a "
            "gymnasium.ActionWrapper that offers those that matter as one Discrete"
        )

    def chosen(row: np.ndarray) -> np.ndarray:
        values = np.array(np.unravel_index(int(row.argmax()), counts))
        return (values.reshape(space.shape) + start).astype(space.dtype)

    return ActionSpace(total, discrete=True), chosen


def _unreadable(env: gymnasium.Env, space: spaces.Space, why: str = "") -> UserError:
    reason = f" ({why})" if why else ""
    return UserError(
        f"{named(env)} shows {space}{reason}; {OBS_WORKS}; try "
        "gymnasium.wrappers.FlattenObservation, or FilterObservation to leave parts of a Dict out"
    )


def is_minigrid(env: gymnasium.Env) -> bool:
    return isinstance(env.unwrapped, MiniGridEnv)


def named(env: gymnasium.Env) -> str:
    """What to call an environment: its id, or else its class; no slashes, lower case."""
    known = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    return short_name(known)


def short_name(env_id: str) -> str:
    """ "Workbook/CheetahJump-v0" to "workbook-cheetahjump-v0", fit for metrics and files."""
    return env_id.rpartition(":")[2].replace("/", "-").replace("_", "-").lower()
