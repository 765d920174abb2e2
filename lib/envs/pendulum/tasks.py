"""The torque pendulum's tasks differ in weight, length, motor, goal and number of actions.

Angles are in radians, 0 where the pendulum stands upright.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lib.core.errors import UserError, short, unknown
from lib.envs.gym.tasks import distinct

MOST_ACTIONS = 32
NUMBERS = ("g", "l", "gear", "goal", "actions")


@dataclass(frozen=True)
class PendulumTask:
    """One pendulum and what it is to do."""

    name: str
    g: float = 10.0  # pull of gravity [m/s^2]
    l: float = 1.0  # length [m]  # noqa: E741 (as the equation writes it)
    gear: float = 1.0  # torque for an action of 1; below 0 it turns the other way
    goal: float = 0.0  # angle that pays most [rad]
    actions: int = 1  # A, numbers in an action; their mean drives the motor
    after: str = ""  # no other agent acts first


TASKS = {
    task.name: task
    for task in (
        PendulumTask("source-a"),
        PendulumTask("source-b", g=7.0, l=1.2, gear=-1.0, goal=0.5, actions=2),
        PendulumTask("target", l=1.3, gear=-1.3),
    )
}
Entry = str | Mapping | PendulumTask  # what a stream may list


def resolve(entries: Iterable[Entry]) -> tuple[PendulumTask, ...]:
    """Task records in the order given.

    Args:
        entries: names, records, or mappings: `name`, what to call it, `task`, the named one that
            it begins from (left out: `name`, or a plain pendulum), and any of g, l, gear, goal
            and actions.

    Raises:
        UserError: an unknown task or key, a number that makes no pendulum, a name given twice,
            none.
    """
    return distinct((_record(entry) for entry in entries), "source-a")


def _record(entry: Entry) -> PendulumTask:
    if isinstance(entry, PendulumTask):
        return entry
    if isinstance(entry, Mapping):
        return _described(entry)
    if entry not in TASKS:
        raise unknown("pendulum task", entry, TASKS, f"or a mapping with {', '.join(NUMBERS)}")
    return TASKS[entry]


def _described(entry: Mapping) -> PendulumTask:
    """A pendulum of one's own."""
    known = ("name", "task", *NUMBERS)
    for key in entry:
        if key not in known:
            raise unknown("key of a pendulum task", key, known)
    if "name" not in entry:
        raise UserError(f"task {short(dict(entry))} has no `name`; give it one")
    name = entry["name"]
    begun = _record(entry["task"]) if "task" in entry else TASKS.get(name, PendulumTask(name))
    numbers = {key: _number(name, key, entry[key]) for key in NUMBERS if key in entry}
    return replace(begun, name=name, **numbers)


def _number(name: str, key: str, value: Any) -> float | int:
    """A number of a task, if a pendulum can have it."""
    wanted, fits = {
        "g": ("a number of at least 0", lambda x: 0 <= x <= 1e3),
        "l": ("a number above 0, up to 100", lambda x: 1e-2 <= x <= 1e2),
        "gear": ("a number other than 0", lambda x: 0 < abs(x) <= 1e3),
        "goal": ("an angle in radians, -4 to 4", lambda x: abs(x) <= 4),
        "actions": (f"a whole number from 1 to {MOST_ACTIONS}", lambda x: 1 <= x <= MOST_ACTIONS),
    }[key]
    kinds = int if key == "actions" else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not fits(value):
        raise UserError(f"task {name!r}: {key} {short(value)} is no pendulum's; give {wanted}")
    return value if key == "actions" else float(value)
