"""Whole runs: what one does, counted as the runner counts it, times what each part costs here.

Projected hours (`projecting`): a run takes

    plans / rate + reviewer plans / rate + updates / rate + reviewed updates / rate
    + evaluation plans / rate + env steps / rate   [seconds]

with every rate measured on this machine in the same run of the benchmark. The plain form plans
one state after another and steps one environment; the fast form plans for all episodes that are
collected or evaluated at once. Saves, audits, films and logs are the same for both and left out.
The quick grid run (`ending`) is put together from whole rounds instead, and audits are counted.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lib.algos.tdmpc.settings import TdmpcRun
from lib.analysis.bench import BARE
from tests.benchmarks import environments, starts
from tests.benchmarks.engine import Engine, form
from tests.benchmarks.learners import Size, random_episodes
from tests.benchmarks.measure import Found, Line, row

HOUR = 3_600.0  # seconds


@dataclass(frozen=True)
class Work:
    """What the runner does in one task. Plans are counted per state."""

    env_steps: int  # learner and reviewer, evaluation left out
    random: int  # decisions at random
    plans: int  # the learner's
    reviewer_plans: int
    updates: int
    evaluation: int  # plans of the learner's, in this task and all before it
    evaluation_env_steps: int


def work(cfg: TdmpcRun, task: int) -> Work:
    """Counts one task round by round of collecting, as `lib.runner.training` does."""
    budget, learning, each = cfg.budget, cfg.learning, cfg.env.decisions
    roles = ("learner", "reviewer") if cfg.method.review and task else ("learner",)
    stored, plans = dict.fromkeys(roles, 0), {"learner": 0, "reviewer": 0}
    steps = random = looks = next_look = 0
    due = 0.0
    while steps * cfg.env.action_repeat < budget.env_steps_per_task:
        if steps * cfg.env.action_repeat >= next_look:
            looks, next_look = looks + 1, next_look + budget.eval_every
        for role in roles:
            decisions = budget.parallel_envs * each
            if steps < learning.seed_steps or stored[role] < learning.batch:
                random += decisions
            else:
                plans[role] += decisions
            stored[role] += decisions
            steps += decisions
            if role == "learner" and steps >= learning.seed_steps:
                due += decisions * learning.updates_per_step
    looks += 1 + (task + 1)  # when the task ends, and then every task so far
    return Work(
        env_steps=steps * cfg.env.action_repeat,
        random=random,
        plans=plans["learner"],
        reviewer_plans=plans["reviewer"],
        updates=int(due),
        evaluation=looks * budget.eval_episodes * each,
        evaluation_env_steps=looks * budget.eval_episodes * cfg.env.episode_length,
    )


@dataclass(frozen=True)
class Rates:
    """How fast one form is [per second]; plans are counted per state."""

    plans: float
    reviewer_plans: float
    updates: float
    reviewed_updates: float
    evaluation_plans: float
    env_steps: float


def hours(cfg: TdmpcRun, rates: Rates, evaluation: bool = True) -> float:
    """How long the whole sequence of one seed takes at these rates."""
    seconds = 0.0
    for task in range(len(cfg.tasks)):
        todo = work(cfg, task)
        updates = rates.reviewed_updates if task and cfg.method.review else rates.updates
        steps = todo.env_steps + evaluation * todo.evaluation_env_steps
        seconds += todo.plans / rates.plans + todo.reviewer_plans / rates.reviewer_plans
        seconds += todo.updates / updates + steps / rates.env_steps
        seconds += evaluation * todo.evaluation / rates.evaluation_plans
    return seconds / HOUR


def rates(engine: Engine, size: Size) -> tuple[Rates, Rates]:
    """Of the plain and of the fast form, measured where they are not yet known.

    The fast form of a full preset collects `size.many` episodes at once, that of a quick one as
    many as its preset says.
    """
    together = size.full or size.published().budget.parallel_envs > 1
    states = size.many if together else 1
    found = (
        engine.plans(size, states),
        engine.plans(size, states, "reviewer"),
        engine.updates(size, 0),
        engine.updates(size, 1),
        engine.plans(size, size.many),
        engine.once(
            ("steps", size.config().env.domain),
            lambda: environments.steps(size, engine.device, engine.scale.effort),
        ),
    )
    return (
        Rates(*(one.reference for one in found)),
        Rates(*(one.fast for one in found)),
    )


def projecting(engine: Engine, peak: float) -> Iterator[Line]:
    """Hours that one seed of each preset's whole sequence takes, with and without evaluation."""
    for size in engine.scale.sizes:
        cfg = size.published()
        plain, fast = rates(engine, size)
        for evaluation, words in ((True, ""), (False, f" {BARE}")):
            name = f"hours, {len(cfg.tasks)} tasks{words}, {size.label}"
            told = (hours(cfg, one, evaluation) for one in (plain, fast))
            yield Line(row(name, "h", *told))


# End to end ------------------------------------------------------------------------------------


def ending(engine: Engine, peak: float) -> Iterator[Line]:
    """Env steps per second of training the quick grid, collecting and learning together.

    A *round* is what the runner repeats: every role plays its 8 episodes, then the updates that
    are due follow. Both forms play real rounds in turns, in the first task and in a reviewed one;
    the updates of a round come in at the rate measured for updates. From the rounds the whole
    run is put together: those of warm-up act at random and cost the environment alone; an
    evaluation costs as much as a learner's round of collecting; audits, and in the fast form
    everything until it is ready (see `started`), are added once. Saves and logs are left out.
    """
    size, cfg = engine.scale.whole, engine.scale.whole.published()
    seconds = [_rounds(engine, task) for task in (0, 1)]
    steps = cfg.budget.parallel_envs * cfg.env.episode_length
    due = steps * cfg.learning.updates_per_step / cfg.env.action_repeat
    for task, name in enumerate(("first task", "reviewed task")):
        update = engine.updates(size, task)
        forms = ((seconds[task][0], update.reference), (seconds[task][1], update.fast))
        pace = [steps * (1 + task) / (collect + due / rate) for collect, rate in forms]
        yield Line(row(f"end to end, {name}, {size.label}", "env steps/s", *pace))
    extra = _extra(engine)
    whole = [_whole(engine, cfg, form, seconds, extra[form]) for form in (0, 1)]
    env_steps = len(cfg.tasks) * cfg.budget.env_steps_per_task
    pace = [env_steps / one for one in whole]
    yield Line(row(f"end to end, whole run, {size.label}", "env steps/s", *pace))


def _rounds(engine: Engine, task: int) -> tuple[float, float]:
    """Seconds in which all roles collect once, in the plain and in the fast form."""
    size = engine.scale.whole

    def measure() -> Found:
        plain, fast = engine.pair(size, task)
        return engine.compare(
            form(plain, lambda: plain.collect(task), 1, warm=0),
            form(fast, lambda: fast.collect(task), 1),
        )

    found = engine.once(("collect", size, task), measure)
    return 1 / found.reference, 1 / found.fast


def _whole(
    engine: Engine, cfg: TdmpcRun, form: int, seconds: list[tuple[float, float]], extra: float
) -> float:
    """Seconds of the whole quick run in the plain (0) or the fast (1) form."""
    a_round = cfg.budget.parallel_envs * cfg.env.decisions
    one_look = seconds[0][form] * cfg.budget.eval_episodes / cfg.budget.parallel_envs
    total = extra
    for task in range(len(cfg.tasks)):
        todo, reviewed = work(cfg, task), int(task > 0)
        update = engine.updates(engine.scale.whole, reviewed)
        rate = update.fast if form else update.reference
        planned = (todo.plans + todo.reviewer_plans) / a_round / (1 + reviewed)
        looks = todo.evaluation / (cfg.budget.eval_episodes * cfg.env.decisions)
        total += planned * seconds[reviewed][form] + todo.updates / rate + looks * one_look
        total += todo.random / a_round * _random_round(engine)
    return total


def _random_round(engine: Engine) -> float:
    """Seconds in which 8 episodes of random actions are played."""
    learners = engine.pair(engine.scale.whole, 0)[0]
    draws = torch.Generator(engine.device).manual_seed(0)
    began = time.perf_counter()
    random_episodes(learners.domain.make(0), learners.cfg.budget.parallel_envs, draws)
    return time.perf_counter() - began


def _extra(engine: Engine) -> tuple[float, float]:
    """Seconds of a run outside its rounds: all audits, and what starts cost the fast form.

    The latter is the time until it is ready beyond that of the plain form, in every task.
    """
    size = engine.scale.whole
    plain, cached, _ = starts.both(engine, size)
    beyond = [max(0.0, f - p) for p, f in zip(plain.ready, cached.ready, strict=True)]
    tasks = len(size.published().tasks)
    prepared = sum((beyond + beyond[-1:] * tasks)[:tasks])
    learner = engine.pair(size, 1)[0]
    draws = torch.Generator(engine.device).manual_seed(0)
    began = time.perf_counter()
    learner.agents[0].audit(learner.domain, learner.domain.new_held_out(), draws)
    audits = tasks * (time.perf_counter() - began)
    return audits, audits + prepared
