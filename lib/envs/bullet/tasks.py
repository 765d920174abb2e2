"""PyBullet's bodies by name, known without importing PyBullet.

A name is the body's, or the id that `pybullet_envs_gymnasium` registers: `Hopper` or
`HopperBulletEnv-v0`. Bodies of the same names that gymnasium simulates with MuJoCo (Hopper-v5) pay
otherwise, end otherwise and last as many steps of other lengths: their returns are not comparable.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lib.core.errors import UserError, short, unknown
from lib.envs.gym.tasks import distinct

NUMBERS = 28  # of the body that is observed with the most of them, the ant
ENDING = "BulletEnv-v0"
GRAVITY = 9.8  # of every body [m/s^2]
NUMBERS_OF_A_TASK = ("gravity", "gear")


@dataclass(frozen=True)
class BulletTask:
    """One body and what it is paid for."""

    name: str
    body: str  # "Hopper"
    actions: int  # numbers in an action
    numbers: int  # numbers that are observed
    walks: bool = True  # on a floor; the others are pendulums on a cart
    may_go_on: bool = True  # after the task has ended, which it pays something else for
    gravity: float = GRAVITY  # [m/s^2]
    gear: float = 1.0  # what an action is multiplied by; below 0 it pushes the other way
    after: str = ""  # no other agent acts first

    @property
    def kind(self) -> str:
        """Module and class of the environment."""
        module = "gym_locomotion_envs" if self.walks else "gym_pendulum_envs"
        return f"pybullet_envs_gymnasium.{module}:{self.body}BulletEnv"


TASKS = {
    task.name: task
    for task in (
        BulletTask("Hopper", "Hopper", 3, 15),
        BulletTask("Walker2D", "Walker2D", 6, 22),
        BulletTask("HalfCheetah", "HalfCheetah", 6, 26),
        BulletTask("Ant", "Ant", 8, 28),
        # It is paid 1 a step until it falls, and would be paid for lying there.
        BulletTask("InvertedPendulum", "InvertedPendulum", 1, 5, walks=False, may_go_on=False),
        BulletTask("InvertedDoublePendulum", "InvertedDoublePendulum", 1, 9, walks=False),
        BulletTask("InvertedPendulumSwingup", "InvertedPendulumSwingup", 1, 5, walks=False),
    )
}
Entry = str | Mapping | BulletTask  # what a stream may list


def resolve(entries: Iterable[Entry], ignore_termination: bool = False) -> tuple[BulletTask, ...]:
    """Task records in the order given.

    Args:
        entries: names, records, or mappings: `name`, what to call it, `task`, one of the former,
            and, for a body that moves otherwise, `gravity` and `gear`.
        ignore_termination: whether episodes go on when the task has ended.

    Raises:
        UserError: an unknown task or key, a number that no body can have, a name given twice,
            none, or a task that would pay the same for everything if it went on.
    """
    tasks = distinct((_record(entry) for entry in entries), "Hopper")
    for task in tasks:
        if ignore_termination and not task.may_go_on:
            raise UserError(
                f"env.ignore_termination: task {task.name!r} pays 1 for every step until it ends, "
                "so there would be nothing to learn; set it to false, or leave the task out"
            )
    return tasks


def _record(entry: Entry) -> BulletTask:
    if isinstance(entry, BulletTask):
        return entry
    if isinstance(entry, Mapping):
        known = ("name", "task", *NUMBERS_OF_A_TASK)
        for key in entry:
            if key not in known:
                raise unknown("key of a bullet task", key, known)
        named = entry.get("task", entry.get("name"))
        if named is None:
            raise UserError(f"task {short(dict(entry))} has no `task`, such as Hopper; name one")
        task = _record(named)
        name = entry.get("name", task.name)
        numbers = {k: _number(name, k, entry[k]) for k in NUMBERS_OF_A_TASK if k in entry}
        return replace(task, name=name, **numbers)
    by_spelling = {name.lower(): task for name, task in TASKS.items()}
    plain = str(entry).lower().removesuffix(ENDING.lower())
    if plain not in by_spelling:
        raise unknown("bullet task", entry, TASKS, f"or their ids, such as Hopper{ENDING}")
    return by_spelling[plain]


def _number(name: str, key: str, value: Any) -> float:
    """A number of a task, if a body can have it."""
    wanted, fits = {
        "gravity": ("0 to 100 m/s^2", lambda x: 0 <= x <= 100),
        "gear": ("a number from -1 to 1 other than 0", lambda x: 0 < abs(x) <= 1),
    }[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
        raise UserError(f"task {name!r}: {key} {short(value)} is no body's; give {wanted}")
    return float(value)
