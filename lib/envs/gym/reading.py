"""What a gymnasium environment shows and what it takes, as a learner sees it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from minigrid.minigrid_env import MiniGridEnv

from lib.core.errors import UserError, unknown
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.gym import minigrid
from lib.envs.gym.tiles import SIDE, nearest

OBSERVATIONS = ("state", "pixels", "symbols")
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
    if is_minigrid(env) and isinstance(space, spaces.Dict) and "image" in space.spaces:
        space, key = space["image"], "image"  # the mission, a sentence, is left out

    def part(obs: Any) -> Any:
        return obs if key is None else obs[key]

    if isinstance(space, spaces.Discrete):
        first, eye = int(space.start), np.eye(int(space.n), dtype=np.float32)
        return ObsSpace("vector", (len(eye),)), lambda obs: eye[int(part(obs)) - first]
    if not isinstance(space, spaces.Box):
        raise _unreadable(env, space)
    shape = space.shape
    if is_minigrid(env) and shape == (env.unwrapped.agent_view_size,) * 2 + (3,):
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


def is_minigrid(env: gymnasium.Env) -> bool:
    return isinstance(env.unwrapped, MiniGridEnv)


def named(env: gymnasium.Env) -> str:
    """What to call an environment: its id, or else its class; no slashes, lower case."""
    known = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    return short_name(known)


def short_name(env_id: str) -> str:
    """ "Workbook/CheetahJump-v0" to "workbook-cheetahjump-v0", fit for metrics and files."""
    return env_id.rpartition(":")[2].replace("/", "-").replace("_", "-").lower()
