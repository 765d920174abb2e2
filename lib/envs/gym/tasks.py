"""Tasks that are gymnasium environments, as data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from lib.errors import UserError, unknown

NEAR = 8  # names listed where the whole list would fill a screen


@dataclass(frozen=True)
class GymTask:
    """One environment of a stream."""

    name: str  # "doorkey-8x8"
    env_id: str = ""  # as registered with gymnasium; "" for what was handed over
    options: Mapping[str, Any] = field(default_factory=dict)  # keywords of the environment
    seed: int | None = None  # of every episode; None: each episode has its own
    after: str = ""  # no other agent acts first


def distinct(tasks: Iterable[GymTask], example: str) -> tuple[GymTask, ...]:
    """The tasks, if there are any and no name comes twice.

    Raises:
        UserError: none, or a name given twice.
    """
    tasks = tuple(tasks)
    if not tasks:
        raise UserError(f"no tasks given; name at least one, for example {example}")
    seen = set()
    for task in tasks:
        if task.name in seen:
            raise UserError(f"task {task.name!r} is listed twice; names tell results apart")
        seen.add(task.name)
    return tasks


def unknown_name(kind: str, arrived: str, known: Iterable[str], hint: str) -> UserError:
    """The error for a name that is not in a long list: only the nearest ones are offered."""
    names = sorted(known)
    lower = {name.lower(): name for name in names}
    near = get_close_matches(arrived.lower(), lower, n=NEAR, cutoff=0.4)
    listed = [lower[name] for name in near] or names[:NEAR]
    return unknown(kind, arrived, listed, hint)
