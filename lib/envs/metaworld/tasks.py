"""The fifty tasks of Meta-World by name, known without importing it.

Names are those of the benchmark without a version: `door-close` for `door-close-v3`. Older
versions of a name (`-v1`, `-v2`) stand for other simulations, whose returns are not comparable.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lib.core.errors import UserError, short, unknown
from lib.envs.gym.tasks import distinct

NAMES = (
    *("assembly", "basketball", "bin-picking", "box-close", "button-press", "button-press-topdown"),
    *("button-press-topdown-wall", "button-press-wall", "coffee-button", "coffee-pull"),
    *("coffee-push", "dial-turn", "disassemble", "door-close", "door-lock", "door-open"),
    *("door-unlock", "drawer-close", "drawer-open", "faucet-close", "faucet-open", "hammer"),
    *("hand-insert", "handle-press", "handle-press-side", "handle-pull", "handle-pull-side"),
    *("lever-pull", "peg-insert-side", "peg-unplug-side", "pick-out-of-hole", "pick-place"),
    *("pick-place-wall", "plate-slide", "plate-slide-back", "plate-slide-back-side"),
    *("plate-slide-side", "push", "push-back", "push-wall", "reach", "reach-wall", "shelf-place"),
    *("soccer", "stick-pull", "stick-push", "sweep", "sweep-into", "window-close", "window-open"),
)
VERSION, AGAIN = "-v3", "-again"
OLDER = ("-v1", "-v2")
ACTIONS, NUMBERS = 4, 39  # of the gripper; observed, the goal among them


@dataclass(frozen=True)
class MetaWorldTask:
    """One task of the robot arm."""

    name: str  # what it is called in a stream
    task: str  # one of NAMES, and of its files
    actions: int = ACTIONS  # numbers in an action
    after: str = ""  # no other agent acts first


Entry = str | Mapping | MetaWorldTask  # what a stream may list


def resolve(entries: Iterable[Entry]) -> tuple[MetaWorldTask, ...]:
    """Returns task records in the order given.

    Args:
        entries: names, with or without `-v3`; records; or mappings: `name`, what to call it, and
            `task`, one of the former. A name that ends in `-again` is a task a second time.

    Raises:
        UserError: an unknown task or key, one of another version, one given twice, or none.
    """
    return distinct((_record(entry) for entry in entries), "door-close")


def _record(entry: Entry) -> MetaWorldTask:
    if isinstance(entry, MetaWorldTask):
        return entry
    if isinstance(entry, Mapping):
        for key in entry:
            if key not in ("name", "task"):
                raise unknown("key of a Meta-World task", key, ("name", "task"))
        named = entry.get("task", entry.get("name"))
        if not isinstance(named, str):
            raise UserError(f"task {short(dict(entry))} has no `task`, such as door-close; name it")
        return replace(_record(named), name=entry.get("name", named))
    if not isinstance(entry, str):
        raise UserError(f"task {short(entry)} is none; give a name such as door-close")
    plain = entry.lower().replace("_", "-").removesuffix(VERSION)
    if plain.endswith(OLDER):
        raise UserError(
            f"task {short(entry)} is of an older Meta-World, which simulates otherwise; here are "
            f"those of version 3: '{plain[:-3]}'"
        )
    task = plain.removesuffix(AGAIN)
    if task not in NAMES:
        raise unknown("Meta-World task", entry, NAMES)
    return MetaWorldTask(plain, task)
