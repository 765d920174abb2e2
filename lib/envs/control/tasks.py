"""The control tasks by name, and the pairs in which another task's agent acts first."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from lib.core.errors import UserError, short, unknown
from lib.envs.control import rewards
from lib.envs.control.bodies import DOMAINS
from lib.envs.control.rewards import Reward


@dataclass(frozen=True)
class ControlTask:
    """One task of a body."""

    name: str  # "cheetah-run", or "cheetah-jump2run" for a pair
    domain: str
    reward: Reward
    after: str = ""  # full name of the task whose agent acts before every episode


# A new task is one function in `rewards`, and one row here.
TASKS = {
    f"{domain}-{short}": ControlTask(f"{domain}-{short}", domain, reward)
    for domain, short, reward in (
        ("cheetah", "run", partial(rewards.cheetah_run, speed=10.0)),
        ("cheetah", "run-backwards", partial(rewards.cheetah_run, speed=-8.0)),
        ("cheetah", "jump", rewards.cheetah_jump),
        ("cheetah", "jump-and-run", partial(rewards.cheetah_jump_and_run, speed=7.5)),
        ("cheetah", "jump-and-run-backwards", partial(rewards.cheetah_jump_and_run, speed=-7.5)),
        ("cheetah", "run-front", partial(rewards.cheetah_run_upended, foot="bfoot")),
        ("cheetah", "run-back", partial(rewards.cheetah_run_upended, foot="ffoot")),
        ("cheetah", "stand-front", partial(rewards.cheetah_stand, foot="bfoot")),
        ("cheetah", "stand-back", partial(rewards.cheetah_stand, foot="ffoot")),
        ("cheetah", "lie-down", rewards.cheetah_lie_down),
        ("cheetah", "legs-up", rewards.cheetah_legs_up),
        ("cheetah", "flip", partial(rewards.cheetah_flip, speed=10.0)),
        ("cheetah", "flip-backwards", partial(rewards.cheetah_flip, speed=-8.0)),
        ("walker", "stand", rewards.walker_stand),
        ("walker", "walk", partial(rewards.walker_move, speed=1.0)),
        ("walker", "run", partial(rewards.walker_move, speed=8.0)),
        ("walker", "walk-backwards", partial(rewards.walker_move, speed=-1.0)),
        ("walker", "run-backwards", partial(rewards.walker_move, speed=-8.0)),
        ("walker", "arabesque", rewards.walker_arabesque),
        ("walker", "lie-down", rewards.walker_lie_down),
        ("walker", "legs-up", rewards.walker_legs_up),
        ("walker", "headstand", rewards.walker_headstand),
        ("walker", "flip", partial(rewards.walker_flip, speed=6.0)),
        ("walker", "backflip", partial(rewards.walker_flip, speed=-6.0)),
    )
}

# Names in use elsewhere; "back" is how the published figures call going backwards.
ALIASES = {
    "cheetah-jump-and-back": "cheetah-jump-and-run-backwards",
    "cheetah-back": "cheetah-run-backwards",
    "walker-back": "walker-walk-backwards",
}


def resolve(domain: str, entries: Iterable[str | ControlTask]) -> tuple[ControlTask, ...]:
    """Task records in the order given.

    Args:
        domain: "cheetah" or "walker".
        entries: short names ("run"), full names ("cheetah-run"), either with underscores, pairs
            ("jump2run": run, after an agent that learnt to jump), or records.

    Raises:
        UserError: an unknown domain or task, a task of the other domain, a name given twice, no
            entries.
    """
    if domain not in DOMAINS:
        raise unknown("control domain", domain, DOMAINS)
    tasks = tuple(_record(domain, entry) for entry in entries)
    if not tasks:
        example = next(name for name, task in TASKS.items() if task.domain == domain)
        raise UserError(f"no tasks given; name at least one, for example {example}")
    seen = set()
    for task in tasks:
        if task.name in seen:
            raise UserError(f"task {task.name!r} is listed twice; names tell results apart")
        seen.add(task.name)
    return tasks


def _record(domain: str, entry: str | ControlTask) -> ControlTask:
    if isinstance(entry, ControlTask):
        _check_domain(domain, entry.domain, entry.name)
        return entry
    if not isinstance(entry, str):
        raise UserError(
            f"task {short(entry)} is no name; control tasks are named, e.g. {domain}-run"
        )
    first, middle, last = entry.replace("_", "-").partition("2")
    if not middle:
        return TASKS[_full_name(domain, first, entry)]
    before, task = _full_name(domain, first, entry), TASKS[_full_name(domain, last, entry)]
    if before == task.name:
        raise UserError(f"task {entry!r} pairs {task.name!r} with itself; name two tasks")
    name = f"{domain}-{_short(domain, first)}2{_short(domain, last)}"
    return ControlTask(name, domain, task.reward, after=before)


def _full_name(domain: str, name: str, entry: str) -> str:
    """The registered name that is meant, whichever form it was given in."""
    full = f"{domain}-{_short(domain, name)}"
    full = ALIASES.get(full, full)
    if full in TASKS:
        return full
    other = ALIASES.get(name, name)
    if other in TASKS:
        _check_domain(domain, TASKS[other].domain, entry)
    listed = [known for known in (*TASKS, *ALIASES) if known.startswith(f"{domain}-")]
    if name == _short(domain, name):  # answer in the form that was asked in
        listed = [_short(domain, known) for known in listed]
    pair = f"in {entry!r}; two names make a pair, for example jump2run" if "2" in entry else ""
    raise unknown("task", name, listed, pair)


def _short(domain: str, name: str) -> str:
    return name.removeprefix(f"{domain}-")


def _check_domain(domain: str, arrived: str, name: str) -> None:
    if arrived != domain:
        raise UserError(
            f"task {name!r} belongs to {arrived}, but the domain is {domain}; tasks of one run "
            f"share one body, so set env.domain={arrived} or name a {domain} task"
        )
