"""Tasks of a point that is pushed across a table: where goals lie, and how the push is turned."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lib.core.errors import UserError, short, unknown

QUADRANTS = ((1, 1), (-1, 1), (-1, -1), (1, -1))  # signs of x and y, counter-clockwise
PREFIX = "point-mass-"


@dataclass(frozen=True)
class PointTask:
    """One task; the point itself is the same in all."""

    name: str
    turn: int = 0  # [degrees] counter-clockwise, from the action to the push that it is
    quadrants: tuple[int, ...] = (0, 1, 2, 3)  # of `QUADRANTS`, where goals lie
    axes: int = 2  # numbers of an action; 1: starts, goals and pushes lie along x
    files: tuple[str, ...] = ()  # names of the tasks whose files it is learnt from; (): its own
    after: str = ""  # no other agent acts first


FREE = PointTask("point-mass-free")
LINE = PointTask("point-mass-line", axes=1)
TURNED = tuple(
    PointTask(f"point-mass-turn-{90 * quadrant}", 90 * quadrant, (quadrant,))
    for quadrant in range(len(QUADRANTS))
)
ANYWHERE = tuple(PointTask(f"point-mass-anywhere-{turn}", turn) for turn in (0, 90, 180, 270))
PRETRAIN = PointTask("point-mass-pretrain", files=(FREE.name, LINE.name))
STREAM = tuple(task.name for task in TURNED)
KNOWN = {task.name: task for task in (PRETRAIN, FREE, LINE, *TURNED, *ANYWHERE)}


def resolve(entries: Iterable[str | Mapping | PointTask]) -> tuple[PointTask, ...]:
    """Returns task records in the order given.

    Args:
        entries: names, with or without `point-mass-` before them.

    Raises:
        UserError: an unknown name, one given twice, or none.
    """
    tasks = tuple(_record(entry) for entry in entries)
    if not tasks:
        raise UserError(f"no tasks given; name at least one, for example {STREAM[0]}")
    for index, task in enumerate(tasks):
        if task in tasks[:index]:
            raise UserError(f"task {task.name!r} is listed twice; names tell results apart")
    return tasks


def _record(entry: str | Mapping | PointTask) -> PointTask:
    if isinstance(entry, PointTask):
        return entry
    if not isinstance(entry, str):
        raise UserError(f"task {short(entry)} is none; give a name such as {STREAM[0]}")
    name = entry.replace("_", "-")
    name = name if name.startswith(PREFIX) else PREFIX + name
    if name not in KNOWN:
        raise unknown("task", entry, KNOWN)
    return KNOWN[name]
