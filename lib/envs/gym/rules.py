"""Gymnasium's rules, held against what an environment gives back: one line says what broke them."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium import spaces

from lib.core.errors import UserError

STEP = "(observation, reward, terminated, truncated, info)"
RESET = "(observation, info)"
SLACK = 1e-4  # by which numbers may pass a bound, as a share of it: rounding


@contextmanager
def blamed(name: str, call: str) -> Iterator[None]:
    """Makes one line of whatever an environment raises.

    Args:
        name: of the environment.
        call: what was asked of it, and when.

    Raises:
        UserError: in place of any other error.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever somebody's environment may raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{name}: {call} raised {reason}") from error


def begun(name: str, call: str, result: Any, space: spaces.Space | None) -> Any:
    """The observation that `reset` gave.

    Args:
        name, call: see `blamed`.
        result: what it returned.
        space: the observations it promised; None trusts it.

    Raises:
        UserError: something else than an observation of that space and a dictionary.
    """
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], Mapping):
        raise UserError(f"{name}: {call} returned {_told(result)}; gymnasium's is {RESET}")
    _check_observation(name, call, result[0], space)
    return result[0]


def stepped(
    name: str, call: str, result: Any, space: spaces.Space | None
) -> tuple[Any, float, bool, bool, Mapping[str, Any]]:
    """What `step` gave: observation, reward, terminated, truncated and info.

    Args: see `begun`.

    Raises:
        UserError: other than five values, one of another kind, a reward that is not finite, or an
            observation outside of the space.
    """
    if not isinstance(result, tuple) or len(result) != 5:
        raise UserError(f"{name}: {call} returned {_told(result)}; gymnasium's is {STEP}")
    obs, reward, terminated, truncated, info = result
    if not isinstance(reward, float | int):
        number = np.asarray(reward)
        if number.size != 1 or number.dtype.kind not in "fiub":
            raise UserError(f"{name}: {call} paid {_told(reward)}; a reward is one number")
        reward = number.item()
    if not math.isfinite(reward):
        raise UserError(f"{name}: {call} paid {reward}; a reward is a finite number")
    for word, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, bool | np.bool_) and (np.size(flag) != 1 or flag not in (0, 1)):
            raise UserError(f"{name}: {call} gave {_told(flag)} as {word}; it is true or false")
    if not isinstance(info, Mapping):
        raise UserError(f"{name}: {call} gave {_told(info)} as info; it is a dictionary")
    _check_observation(name, call, obs, space)
    return obs, float(reward), bool(terminated), bool(truncated), info


def _check_observation(name: str, call: str, obs: Any, space: spaces.Space | None) -> None:
    wrong = None if space is None else fault(space, obs)
    if wrong:
        raise UserError(f"{name}: {call} gave an observation {wrong}")


def fault(space: spaces.Space, obs: Any) -> str | None:
    """What keeps an observation from being one of a space; None if nothing does.

    Digits may be lost or gained (float64 for float32), and bounds passed by rounding.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, Mapping):
            return f"that is {_told(obs)}, no dictionary of {', '.join(space.spaces)}"
        for key, part in space.spaces.items():
            wrong = fault(part, obs[key]) if key in obs else "is missing"
            if wrong:
                return f"whose {key!r} {wrong}" if key not in obs else f"with {key!r} {wrong}"
        return None
    if not isinstance(space, spaces.Box):
        return None if space.contains(obs) else f"that is {_told(obs)}, outside of {space}"
    try:
        array = np.asarray(obs)
    except ValueError:
        return f"that is {_told(obs)}, not an array of {space.shape}"
    if array.shape != space.shape:
        return f"of shape {array.shape}; its space has {space.shape}"
    if not np.can_cast(array.dtype, space.dtype, "same_kind"):
        return f"of {array.dtype}; its space has {space.dtype}"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return f"with {array[~np.isfinite(array)][0]} in it; numbers must be finite"
    low, high = space.low, space.high
    inside = (array >= low) & (array <= high)
    if array.dtype.kind == "f" and not inside.all():
        slack = SLACK * np.maximum(np.maximum(abs(np.nan_to_num(low)), abs(array)), 1.0)
        inside = (array >= low - slack) & (array <= high + slack)
    if not inside.all():
        at = np.argwhere(~inside)[0]
        value, bounds = array[tuple(at)], (low[tuple(at)], high[tuple(at)])
        return f"with {value} at {at.tolist()}; its space goes from {bounds[0]} to {bounds[1]}"
    return None


def _told(thing: Any) -> str:
    """What something is, in a few words."""
    if isinstance(thing, tuple):
        return f"{len(thing)} values"
    if isinstance(thing, np.ndarray):
        return f"an array of {thing.shape}"
    text = " ".join(repr(thing).split())
    return f"{text[:40]}{'…' if len(text) > 40 else ''} of type {type(thing).__name__}"
