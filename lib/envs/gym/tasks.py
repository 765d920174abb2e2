"""Tasks that are gymnasium environments, as data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lib.core.errors import UserError

T = TypeVar("T")  # a record with a name


@dataclass(frozen=True)
class GymTask:
    """One environment of a stream."""

    name: str  # "doorkey-8x8"
    env_id: str = ""  # as registered with gymnasium; "" for what was handed over
    options: Mapping[str, Any] = field(default_factory=dict)  # keywords of the environment
    seed: int | None = None  # of every episode; None: each episode has its own
    after: str = ""  # no other agent acts first


def distinct(tasks: Iterable[T], example: str) -> tuple[T, ...]:
    """The task records of any world, if there are any and no name comes twice.

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
