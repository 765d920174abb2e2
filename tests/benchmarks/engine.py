"""Plans and updates per second, one seed and several, and how their cost grows.

The plain form plans one state after another, so its rate is measured on a few states however many
the fast form plans at once. Updates are timed in whole periods of rehearsal, so that those with
one and those without count as often as in a run.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from lib.engine.cuda_graphs import WARM_UP
from tests.benchmarks.dreamer import Dream
from tests.benchmarks.learners import FORMS, Learners, Size
from tests.benchmarks.measure import Effort, Form, Found, Line, compare, count_flops

PLAIN_STATES = 2  # states that the plain form plans in one measured call
WARM = {"reference": 1, "fast": WARM_UP + 2}  # plans before timing
TOGETHER = 5  # seeds of the rows about stacked seeds

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    """What is measured on a machine.

    Args:
        sizes: presets that get every row.
        base: the preset whose settings are varied, whose seeds are stacked, and which is started.
        whole: the preset whose run is put together, end to end.
        growth: settings varied one at a time: letter and values.
        bodies: tasks of the cheetah and the walker that are stepped.
        thorough: also stack seeds in a reviewed task, and start with nothing compiled before.
        dreams: presets of the Dreamers; pictures: of those that see pictures of bodies.
    """

    sizes: tuple[Size, ...]
    base: Size
    whole: Size
    growth: tuple[tuple[str, tuple[int, ...]], ...]
    bodies: tuple[str, ...]
    effort: Effort
    thorough: bool = True
    dreams: tuple[Dream, ...] = ()
    pictures: tuple[Dream, ...] = ()


@dataclass
class Engine:
    """Measures on demand; whatever was measured is kept for the rows that build on it."""

    device: torch.device
    scale: Scale
    _pairs: dict[Any, tuple[Learners, Learners]] = field(default_factory=dict)
    _found: dict[Any, Any] = field(default_factory=dict)

    def pair(self, size: Size, task: int, seeds: int = 1, **changes: Any) -> tuple[Learners, ...]:
        """Plain and fast learners of the same settings at work in the same task."""
        key = (size, task, seeds, tuple(sorted(changes.items())))
        if key not in self._pairs:
            self._pairs[key] = tuple(
                Learners(size.config(kind, **changes), kind, self.device, task, seeds)
                for kind in FORMS
            )
        return self._pairs[key]

    def once(self, key: Any, measure: Callable[[], T]) -> T:
        """What was found under this key, measured the first time it is asked for."""
        if key not in self._found:
            self._found[key] = measure()
        return self._found[key]

    def compare(self, reference: Form, fast: Form, flops: float = 0.0) -> Found:
        return compare(reference, fast, self.device, self.scale.effort, flops)

    # --- planning ------------------------------------------------------------------------

    def plans(
        self, size: Size, states: int, role: str = "learner", seeds: int = 1, **changes: Any
    ) -> Found:
        """Plans per second, for `states` of every seed at once in the fast form."""

        def measure() -> Found:
            task = 1 if role == "reviewer" else 0
            plain, fast = self.pair(size, task, seeds, **changes)
            few = min(states, PLAIN_STATES)
            flops = count_flops(plain.planning(1, role)) / seeds
            return self.compare(
                form(plain, plain.planning(few, role), few * seeds, WARM["reference"]),
                form(fast, fast.planning(states, role), states * seeds, WARM["fast"]),
                flops,
            )

        return self.once(("plans", size, states, role, seeds, tuple(changes.items())), measure)

    # --- updates -------------------------------------------------------------------------

    def updates(self, size: Size, task: int, seeds: int = 1, **changes: Any) -> Found:
        """Updates per second in the first task (0) or in a reviewed one (1), of all seeds."""

        def measure() -> Found:
            plain, fast = self.pair(size, task, seeds, **changes)
            period = updates_in_a_period(plain)
            flops = count_flops(lambda: plain.update(period)) / (period * seeds)
            return self.compare(
                form(plain, lambda: plain.update(period), period * seeds),
                form(fast, lambda: fast.update(period), period * seeds, warm_calls(fast, period)),
                flops,
            )

        return self.once(("updates", size, task, seeds, tuple(changes.items())), measure)

    def stacked(self, size: Size, task: int, seeds: int) -> Found:
        """Updates per second of seeds in one batch against as many batches of one, in turn."""

        def measure() -> Found:
            alone, together = self.pair(size, task)[1], self.pair(size, task, seeds)[1]
            period = updates_in_a_period(alone)

            def in_turn() -> None:
                for _ in range(seeds):
                    alone.update(period)

            def at_once() -> None:
                together.update(period)

            work = period * seeds
            return self.compare(
                form(alone, in_turn, work, warm_calls(alone, period)),
                form(together, at_once, work, warm_calls(together, period)),
            )

        return self.once(("stacked", size, task, seeds), measure)


def form(learners: Learners, call: Callable[[], object], work: float, warm: int = 1) -> Form:
    """A piece of work of learners, with threads and precision as their runs have them."""
    return Form(call, work, warm, learners.settled)


def updates_in_a_period(learners: Learners) -> int:
    """Updates after which rehearsal repeats itself."""
    cfg = learners.cfg
    rehearses = learners.agents[0].task > 0 and cfg.protections.rehearsal.train != "never"
    return cfg.protections.rehearsal.every if rehearses else 1


def updates_until_settled(learners: Learners) -> int:
    """Updates until each kind of them, with a target step or without, is compiled or recorded."""
    cycle = math.lcm(updates_in_a_period(learners), learners.cfg.learning.ema_every)
    return cycle * ((WARM_UP + 1) if learners.device.type == "cuda" else 1) + 1


def warm_calls(learners: Learners, period: int) -> int:
    """Calls of `update(period)` that settle everything."""
    return math.ceil(updates_until_settled(learners) / period)


# The rows --------------------------------------------------------------------------------------


def planning(engine: Engine, peak: float) -> Iterator[Line]:
    """Plans per second: one state, many, and the reviewer's."""
    for size in engine.scale.sizes:
        for states in (1, size.many):
            name = f"plans, {count(states, 'state')}, {size.label}"
            yield engine.plans(size, states).rate(name, "plans/s", peak)
        found = engine.plans(size, size.many, "reviewer")
        name = f"reviewer plans, {count(size.many, 'state')}, {size.label}"
        yield found.rate(name, "plans/s", peak)


def updating(engine: Engine, peak: float) -> Iterator[Line]:
    """Updates per second in the first task and in a reviewed one."""
    for size in engine.scale.sizes:
        for task, name in enumerate(("first task", "reviewed")):
            found = engine.updates(size, task)
            yield found.rate(f"updates, {name}, {size.label}", "updates/s", peak)


def stacking(engine: Engine, peak: float) -> Iterator[Line]:
    """Five seeds as one batch (fast) against five batches of one, each in turn (reference)."""
    size = engine.scale.base
    tasks = ("first task", "reviewed") if engine.scale.thorough else ("first task",)
    for task, name in enumerate(tasks):
        found = engine.stacked(size, task, TOGETHER)
        yield found.rate(f"seeds, {name}, S = {TOGETHER}, {size.label}", "updates/s")


def growing(engine: Engine, peak: float) -> Iterator[Line]:
    """Milliseconds of one call as E, S, the horizon and the width grow, one at a time.

    A plan with E = 16 is for 16 states; an update with S = 5 is one update of each of five
    seeds. The plain form does these one after another.
    """
    size = engine.scale.base
    for letter, values in engine.scale.growth:
        for value in values:
            at = f"{letter} = {value}, {size.label}"
            states, seeds, changes = varied(size, letter, value)
            found = engine.plans(size, states, seeds=seeds, **changes)
            yield found.duration(f"plan, {at}", states * seeds)
            if letter != "E":  # an update knows nothing of environments
                found = engine.updates(size, 0, seeds, **changes)
                yield found.duration(f"update, {at}", seeds)


def varied(size: Size, letter: str, value: int) -> tuple[int, int, dict[str, Any]]:
    """States of one plan, seeds, and changed settings, where one letter has a value."""
    cfg = size.config()
    if letter == "E":
        return value, 1, {}
    if letter == "S":
        return 1, value, {}
    if letter == "horizon":
        same = value == cfg.planner.horizon[0]
        return 1, 1, {} if same else {"planner__horizon": (value,)}
    return 1, 1, {} if value == cfg.model.width else {"model__width": value}


def count(number: int, noun: str) -> str:
    """`1 state`, `8 states`, `64 copies`."""
    many = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else many}"
