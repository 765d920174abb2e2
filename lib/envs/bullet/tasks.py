"""PyBullet's bodies by name, known without importing PyBullet.

A name is the body's, or the id that `pybullet_envs_gymnasium` registers: `Hopper` or
`HopperBulletEnv-v0`. Bodies of the same names that gymnasium simulates with MuJoCo (Hopper-v5) pay
otherwise, end otherwise and last as many steps of other lengths: their returns are not comparable.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lib.core.errors import UserError, short, unknown
from lib.envs.gym.tasks import distinct

NUMBERS = 28  # of the body that is observed with the most of them, the ant
ENDING = "BulletEnv-v0"


@dataclass(frozen=True)
class BulletTask:
    """One body and what it is paid for."""

    name: str
    body: str  # "Hopper"
    actions: int  # numbers in an action
    numbers: int  # numbers that are observed
    walks: bool = True  # on a floor; the others are pendulums on a cart
    may_go_on: bool = True  # after the task has ended, which it pays something else for
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
        entries: names, records, or mappings: `name`, what to call it, and `task`, one of the
            former.
        ignore_termination: whether episodes go on when the task has ended.

    Raises:
        UserError: an unknown task or key, a name given twice, none, or a task that would pay the
            same for everything if it went on.
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
        for key in entry:
            if key not in ("name", "task"):
                raise unknown("key of a bullet task", key, ("name", "task"))
        named = entry.get("task", entry.get("name"))
        if named is None:
            raise UserError(f"task {short(dict(entry))} has no `task`, such as Hopper; name one")
        task = _record(named)
        return replace(task, name=entry.get("name", task.name))
    by_spelling = {name.lower(): task for name, task in TASKS.items()}
    plain = str(entry).lower().removesuffix(ENDING.lower())
    if plain not in by_spelling:
        raise unknown("bullet task", entry, TASKS, f"or their ids, such as Hopper{ENDING}")
    return by_spelling[plain]
