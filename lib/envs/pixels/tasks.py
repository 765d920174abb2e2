"""The tasks of dm_control's suite by name, known without importing dm_control.

Names are `DOMAIN_TASK`, as in the papers: `walker_run`, and `cup_catch` for ball_in_cup's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lib.core.errors import UserError, short, unknown
from lib.envs.gym.tasks import distinct
from lib.envs.pixels import backgrounds

SPARSE = 0.25  # rewards of an env step below this count as 0 in tasks that end in `_sparse`


@dataclass(frozen=True)
class SuiteTask:
    """One task of the suite."""

    name: str  # "walker_run"
    domain: str  # the suite's names
    task: str
    actions: int  # numbers in an action
    camera: int = 0
    threshold: float = 0.0  # rewards of an env step below this count as 0
    bounded: bool = True  # an env step pays 0 to 1
    background: str = ""  # instead of `env.background`
    after: str = ""  # no other agent acts first


# Domain of the suite to the numbers in an action and its tasks.
SUITE: dict[str, tuple[int, tuple[str, ...]]] = {
    "acrobot": (1, ("swingup", "swingup_sparse")),
    "ball_in_cup": (2, ("catch",)),
    "cartpole": (
        1,
        (
            "balance",
            "balance_sparse",
            "swingup",
            "swingup_sparse",
            "two_poles",
            "three_poles",
        ),
    ),
    "cheetah": (6, ("run",)),
    "dog": (38, ("stand", "walk", "trot", "run", "fetch")),
    "finger": (2, ("spin", "turn_easy", "turn_hard")),
    "fish": (5, ("upright", "swim")),
    "hopper": (4, ("stand", "hop")),
    "humanoid": (21, ("stand", "walk", "run", "run_pure_state")),
    "humanoid_CMU": (56, ("stand", "walk", "run")),
    "lqr": (0, ("lqr_2_1", "lqr_6_2")),
    "manipulator": (5, ("bring_ball", "bring_peg", "insert_ball", "insert_peg")),
    "pendulum": (1, ("swingup",)),
    "point_mass": (2, ("easy", "hard")),
    "quadruped": (12, ("walk", "run", "escape", "fetch")),
    "reacher": (2, ("easy", "hard")),
    "stacker": (5, ("stack_2", "stack_4")),
    "swimmer": (0, ("swimmer6", "swimmer15")),
    "walker": (6, ("stand", "walk", "run")),
}
ACTIONS = {"lqr_2_1": 1, "lqr_6_2": 2, "swimmer6": 5, "swimmer15": 14}  # where tasks differ
CAMERAS = {"quadruped": 2}  # the papers' view where it is not camera 0
SHORT = {"ball_in_cup": "cup"}
THRESHOLDED = (("cheetah", "run"), ("walker", "run"))  # DreamerPro's code has these as well


def _table() -> dict[str, SuiteTask]:
    found = {}
    for domain, (actions, tasks) in SUITE.items():
        for task in tasks:
            name = f"{SHORT.get(domain, domain)}_{task}"
            common = (domain, task, ACTIONS.get(task, actions), CAMERAS.get(domain, 0))
            found[name] = SuiteTask(name, *common, bounded=domain != "lqr")
            if (domain, task) in THRESHOLDED:
                found[f"{name}_sparse"] = SuiteTask(f"{name}_sparse", *common, threshold=SPARSE)
    return found


TASKS = _table()
Entry = str | Mapping | SuiteTask  # what a stream may list


def resolve(entries: Iterable[Entry]) -> tuple[SuiteTask, ...]:
    """Task records in the order given.

    Args:
        entries: names ("walker_run", "walker-run", "cup_catch", "ball_in_cup_catch"), records, or
            mappings: `name`, what to call it, `task`, one of the former, and its `background`.

    Raises:
        UserError: an unknown task, one given twice, none.
    """
    return distinct((_record(entry) for entry in entries), "walker_run")


def _record(entry: Entry) -> SuiteTask:
    if isinstance(entry, SuiteTask):
        return entry
    if isinstance(entry, Mapping):
        return _described(entry)
    if not isinstance(entry, str):
        raise UserError(f"task {short(entry)} is no name; dmc tasks are named, e.g. walker_run")
    plain = entry.replace("-", "_")
    for domain, instead in SHORT.items():
        plain = plain.replace(f"{domain}_", f"{instead}_")
    by_spelling = {name.lower(): task for name, task in TASKS.items()}
    if plain.lower() not in by_spelling:
        raise unknown("dmc task", entry, TASKS, "names are DOMAIN_TASK of dm_control's suite")
    return by_spelling[plain.lower()]


def _described(entry: Mapping) -> SuiteTask:
    """A task under a name of its own, perhaps before a background of its own."""
    known = ("name", "task", "background")
    for key in entry:
        if key not in known:
            raise unknown("key of a dmc task", key, known)
    for key, value in entry.items():
        if not isinstance(value, str):
            raise UserError(f"a dmc task's {key} is a text, but {short(value)} arrived")
    named = entry.get("task", entry.get("name"))
    if named is None:
        raise UserError(f"task {short(dict(entry))} has no `task`, such as walker_run; name one")
    task = _record(named)
    if background := entry.get("background", ""):
        backgrounds.check(background)
    return replace(task, name=entry.get("name", task.name), background=background)
