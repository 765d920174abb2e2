"""The fast path against the plain one of tests/oracle, and several seeds against each alone.

In double precision both agree to rounding: tolerances are shares of max(1, size). What is left to
chance is drawn alike, so plans are compared candidate by candidate.
"""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.presets import METHODS
from lib.algos.tdmpc.settings import TdmpcRun
from lib.engine.compiling import has_compiler
from lib.engine.seed_batch import SeedBatch
from lib.replay.buffer import draw_windows
from tests.oracle import replay
from tests.oracle.agent import PlainAgent
from tests.oracle.ready import (
    KINDS,
    apart,
    copied,
    enter,
    episodes,
    new,
    precision,
    ready,
    settings,
    states,
    with_seed,
)
from tests.tiny import changed, kept_heads, next_round

EXACT = 1e-11  # double precision, sums in another order; measured 1e-14 or less
SEEDS = (0, 1, 2)

both_kinds = pytest.mark.parametrize("kind", KINDS)
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture
def double():
    with precision(torch.float64):
        yield


def pair(cfg: TdmpcRun, task: int = 1) -> tuple[ContinualAgent, PlainAgent]:
    """The same agent at the same work, fast and plain."""
    return ready(ContinualAgent, cfg, task), ready(PlainAgent, cfg, task)


def learn(agent: Any, scale: float = 1.0) -> dict[str, float]:
    """Updates, an episode of every role, updates; returns what would be logged."""
    agent.update(3)
    for role in agent.roles:
        given = episodes(agent, seed=5, count=2)
        agent.store(role, given._replace(reward=scale * given.reward))
    agent.update(3)
    return agent.report()


def assert_alike(one: Any, other: Any, tolerance: float = EXACT) -> None:
    assert not apart(one, other, tolerance)


# --- fast and plain: updates ------------------------------------------------------------------


@both_kinds
@every_method
def test_updates_of_every_method_equal_the_plain_ones(double, method, kind):
    fast, plain = pair(settings(method, kind))
    assert_alike(learn(fast), learn(plain))
    assert_alike(fast.state_dict(), plain.state_dict())
    assert torch.equal(fast.streams.update.get_state(), plain.streams.update.get_state())


VARIATIONS = {
    "joint rehearsal": (
        "drago",
        {"protections__rehearsal__combine": "joint", "protections__rehearsal__weight": 0.7},
    ),
    "joint, bounded": (
        "drago",
        {"protections__rehearsal__combine": "joint", "protections__rehearsal__match": "bounded"},
    ),
    "separate, bounded": ("drago", {"protections__rehearsal__match": "bounded"}),
    "joint, stored": ("stored-replay", {"protections__stored_replay__combine": "joint"}),
    "rehearsal every third": ("drago", {"protections__rehearsal__every": 3}),
    "heads at the first step": ("drago", {"learning__first_step_heads": True}),
    "few reviewer rows": ("drago", {"reviewer__ratio": 0.2}),
    "some reviewer rows": ("drago", {"reviewer__ratio": 0.4}),
    "many reviewer rows": ("drago", {"reviewer__ratio": 0.8}),
    "reviewer rows alone": ("drago", {"reviewer__ratio": 1.0}),
    "relabelled rows": ("drago", {"reviewer__relabel": True, "reviewer__ratio": 0.7}),
    "paper's review": ("drago", {"reviewer__shape": "paper", "reviewer__norm": "absolute"}),
    "replay full": ("drago", {"learning__capacity": 35}),
    "replay wraps around": ("drago", {"learning__capacity": 42}),
    "more windows than there are": ("drago", {"learning__capacity": 35, "learning__batch": 35}),
    "target every third": ("drago", {"learning__ema_every": 3, "learning__ema": 0.3}),
    "gradients clipped": ("drago", {"learning__grad_clip": 0.01}),
    "curious reviewer": ("drago", {"protections__curiosity__weight": 0.8}),
    "anchored reviewer": ("drago", {"protections__ewc__strength": 10.0}),
    "learning rate falls": ("drago", {"learning__lr_end": 0.2}),
    "evaluated by an average": ("drago", {"learning__average": 0.3}),
    "uniform replay": ("tdmpc", {"learning__priority_alpha": 0.0}),
}


@both_kinds
@pytest.mark.parametrize("name", VARIATIONS)
def test_updates_with_other_settings_equal_the_plain_ones(double, name, kind):
    method, changes = VARIATIONS[name]
    fast, plain = pair(settings(method, kind, **changes))
    assert_alike(learn(fast), learn(plain))
    assert_alike(fast.state_dict(), plain.state_dict())


def test_surprises_are_capped_as_in_the_plain_path(double):
    fast, plain = pair(settings("tdmpc", "continuous"))
    told, expected = learn(fast, scale=1e4), learn(plain, scale=1e4)
    assert told["train/learner/value"] > 1_000  # some windows hit the cap, others do not
    assert_alike(told, expected)
    assert_alike(fast.state_dict(), plain.state_dict())


@both_kinds
def test_one_update_in_single_precision_is_close_to_the_plain_one(kind):
    # Adam divides by the root of tiny squares: its steps differ more than the gradients do.
    fast, plain = pair(settings("drago", kind))
    plain.load_state_dict(copied(fast.state_dict()))
    plain.streams.load_state_dict(fast.streams.state_dict())
    fast.update(1)
    plain.update(1)
    assert_alike(fast.report(), plain.report(), 1e-5)
    assert_alike(fast.state_dict(), plain.state_dict(), 1e-4)


@pytest.mark.parametrize("name", ["replay full", "replay wraps around", "uniform replay"])
def test_windows_are_drawn_as_by_the_published_replay(double, name):
    method, changes = VARIATIONS[name]
    agent = ready(ContinualAgent, settings(method, "discrete", **changes))
    agent.update(3)
    buffer, draws = agent.learner.buffer, torch.Generator().manual_seed(0)
    for rows in (5, 11):
        spec = buffer.draw(rows)
        uniform = torch.rand(spec.shape, generator=draws)
        mine = draw_windows(buffer.storage, uniform, rows, buffer.horizon, buffer.beta)
        assert_alike(mine._asdict(), replay.draw_windows(buffer, uniform, rows)._asdict())


# --- fast and plain: plans --------------------------------------------------------------------


class Iterations:
    """Every iteration of a plan: candidates and scores of all states."""

    def __init__(self) -> None:
        self.seen: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def __call__(self, iteration: int, candidates: Tensor, values: Tensor, best: Tensor) -> None:
        self.seen.setdefault(iteration, []).append((candidates, values))

    @property
    def all(self) -> list[Tensor]:
        """(E, N, h, A) and (E, N) of the first iteration, and so on."""
        parts = [zip(*found, strict=True) for _, found in sorted(self.seen.items())]
        return [torch.cat(states) for part in parts for states in part]


def episode(agent: Any, role: str, **options: Any) -> list[Any]:
    """Two decisions for four states: actions, means, and all candidates with their scores."""
    memory, told = None, []
    for obs in states(2, 4):
        looked = Iterations()
        action, memory = agent.act(obs, memory, role=role, trace=looked, **options)
        told += [action, memory, *looked.all]
    return told


BONUSES = {
    "discrete": ("grid", "bounded", "coin-flip", "legacy", "none"),
    "continuous": ("bounded", "coin-flip", "legacy", "none"),
}


@pytest.mark.parametrize(
    ("kind", "bonus"), [(kind, bonus) for kind, names in BONUSES.items() for bonus in names]
)
def test_the_reviewers_plans_equal_the_plain_ones(double, kind, bonus):
    fast, plain = pair(settings("drago", kind, reviewer__count_bonus=bonus))
    for explore in (True, False):  # counting goes on while exploring
        told = [episode(agent, "reviewer", explore=explore) for agent in (fast, plain)]
        assert_alike(*told)


PLANS = {
    "as it is": {},
    "no policy sequences": {"planner__mixture": 0.0},
    "no value at the end": {"planner__use_q": False},
    "unclamped noise": {"planner__final_noise": "legacy"},
    "smallest deviation reached": {"planner__std_ramp": 1},
    "as many candidates as elites": {"planner__samples": 7, "planner__elites": 7},
    "fewer candidates than actions": {
        "planner__samples": 2,
        "planner__elites": 2,
        "planner__mixture": 1.0,
    },
    "every sequence at hand": {"planner__samples": 29},
    "horizon still growing": {"planner__horizon_ramp": 100},
}


@both_kinds
@pytest.mark.parametrize("name", PLANS)
def test_plans_equal_the_plain_ones(double, name, kind):
    fast, plain = pair(settings("drago", kind, **PLANS[name]))
    for explore in (True, False):
        told = [episode(agent, "learner", explore=explore) for agent in (fast, plain)]
        assert_alike(*told)
    assert torch.equal(fast.streams.act.get_state(), plain.streams.act.get_state())


@both_kinds
def test_plans_with_other_heads_and_another_generator_equal_the_plain_ones(double, kind):
    told = []
    for agent in pair(settings("drago", kind)):
        heads = kept_heads(agent)
        agent.update(2)
        draws = torch.Generator().manual_seed(3)
        told.append(episode(agent, "learner", explore=False, generator=draws, heads=heads))
    assert_alike(*told)


@both_kinds
def test_a_mean_kept_from_a_shorter_horizon_is_read_alike(double, kind):
    told = []
    for agent in pair(settings("drago", kind, planner__horizon_ramp=100)):
        _, memory = agent.act(states(4), None)
        agent.steps = 100
        told.append(agent.act(states(4), memory))
    assert_alike(*told)


# --- several seeds ----------------------------------------------------------------------------


def alone_and_together(cfg: TdmpcRun) -> tuple[list[ContinualAgent], SeedBatch]:
    """The same seeds, each an agent of its own and all as one batch."""
    own = [with_seed(cfg, seed) for seed in SEEDS]
    return [ready(ContinualAgent, c) for c in own], SeedBatch(
        [ready(ContinualAgent, c) for c in own]
    )


def assert_batches_learn_alike(
    alone: list[ContinualAgent], batch: SeedBatch, rounds: int, tolerance: float
) -> None:
    """Rounds of five updates with new episodes between them."""
    for round_ in range(rounds):
        for agents, update in ((batch.agents, batch.update), (alone, None)):
            for seed, agent in enumerate(agents):
                for role in agent.roles:
                    agent.store(role, episodes(agent, seed=10 * round_ + seed, count=2))
                if update is None:
                    agent.update(5)
            if update is not None:
                update(5)
    for one, other in zip(batch.agents, alone, strict=True):
        assert_alike(one.state_dict(), other.state_dict(), tolerance)
        assert_alike(one.report(), other.report(), tolerance)


@both_kinds
@every_method
def test_a_batch_learns_what_its_seeds_learn_alone(double, method, kind):
    alone, batch = alone_and_together(settings(method, kind))
    assert_batches_learn_alike(alone, batch, rounds=1, tolerance=1e-12)


@both_kinds
def test_a_batch_is_the_same_after_fifty_updates(double, kind):
    alone, batch = alone_and_together(settings("drago", kind))
    assert_batches_learn_alike(alone, batch, rounds=10, tolerance=1e-12)


def test_a_batch_in_single_precision_stays_close_to_its_seeds():
    alone, batch = alone_and_together(settings("drago", "continuous"))
    assert_batches_learn_alike(alone, batch, rounds=1, tolerance=1e-3)


@pytest.mark.parametrize("name", ["gradients clipped", "replay full", "many reviewer rows"])
def test_a_batch_with_other_settings_learns_what_its_seeds_learn_alone(double, name):
    method, changes = VARIATIONS[name]
    alone, batch = alone_and_together(settings(method, "discrete", **changes))
    assert_batches_learn_alike(alone, batch, rounds=2, tolerance=1e-12)


@both_kinds
@pytest.mark.parametrize("role", ["learner", "reviewer"])
def test_a_batch_acts_as_its_seeds_do_alone(double, role, kind):
    alone, batch = alone_and_together(settings("drago", kind))
    for agent in (*alone, *batch.agents):
        next_round(agent)
    memory, memories = None, [None] * len(alone)
    for obs in states(3, len(alone), 4):
        action, memory = batch.act(obs, memory, role=role)
        for seed, agent in enumerate(alone):
            own, memories[seed] = agent.act(obs[seed], memories[seed], role=role)
            assert_alike([action[seed], memory[seed]], [own, memories[seed]], 1e-12)


def test_a_batch_acts_with_given_heads_and_generators_as_its_seeds_do(double):
    alone, batch = alone_and_together(settings("drago", "continuous"))
    heads = [kept_heads(agent) for agent in alone]
    batch.update(1)
    for agent in alone:
        agent.update(1)
    obs = states(len(alone), 4)
    draws = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    action, _ = batch.act(obs, None, explore=False, generators=draws, heads=heads)
    for seed, agent in enumerate(alone):
        again = torch.Generator().manual_seed(seed)
        own, _ = agent.act(obs[seed], None, explore=False, generator=again, heads=heads[seed])
        assert_alike(action[seed], own, 1e-12)


def test_a_batch_warms_up_as_its_seeds_do_alone(double):
    own = [with_seed(settings("drago", "discrete"), seed) for seed in SEEDS]
    alone = [new(ContinualAgent, cfg) for cfg in own]
    batch = SeedBatch([new(ContinualAgent, cfg) for cfg in own])
    for agent in (*alone, *batch.agents):
        agent.begin_task(0)
    action, memory = batch.act(states(len(alone), 4))
    assert memory is None
    for seed, agent in enumerate(alone):
        assert torch.equal(action[seed], agent.act(states(4), None)[0])


def test_one_seed_of_a_batch_goes_on_alone(double):
    cfg = settings("drago", "discrete")
    _, batch = alone_and_together(cfg)
    batch.update(3)
    leaving = batch.agents[1]
    alone = new(ContinualAgent, with_seed(cfg, 1))
    alone.load_state_dict(copied(leaving.state_dict()))
    alone.streams.load_state_dict(leaving.streams.state_dict())
    batch.update(3)
    alone.update(3)
    assert_alike(alone.state_dict(), leaving.state_dict(), 1e-12)
    action, _ = batch.act(states(len(SEEDS), 4), role="reviewer")
    assert_alike(alone.act(states(len(SEEDS), 4)[1], None, role="reviewer")[0], action[1], 1e-12)


def test_seeds_that_ran_alone_go_on_as_a_batch(double):
    cfg = settings("drago", "continuous")
    alone, _ = alone_and_together(cfg)
    batch = SeedBatch([new(ContinualAgent, with_seed(cfg, seed)) for seed in SEEDS])
    for agent, joining in zip(alone, batch.agents, strict=True):
        agent.update(3)
        joining.load_state_dict(copied(agent.state_dict()))
        joining.streams.load_state_dict(agent.streams.state_dict())
    assert_batches_learn_alike(alone, batch, rounds=1, tolerance=1e-12)


def test_a_batch_crosses_into_the_next_task_as_its_seeds_do(double):
    alone, batch = alone_and_together(settings("drago", "discrete"))
    batch.update(2)
    for agent in alone:
        agent.update(2)
    for agent in (*alone, *batch.agents):
        enter(agent, 2)
    assert_batches_learn_alike(alone, batch, rounds=1, tolerance=1e-12)


# --- compiled ---------------------------------------------------------------------------------


def assert_compiled_equals_eager(method: str, kind: str, seeds: int) -> None:
    cfg = settings(method, kind, planner__horizon=[2])
    own = [with_seed(cfg, seed) for seed in range(seeds)]
    eager = SeedBatch([ready(ContinualAgent, c) for c in own])
    fast = SeedBatch([new(ContinualAgent, changed(c, engine__compile="always")) for c in own])
    for agent, again in zip(eager.agents, fast.agents, strict=True):
        again.load_state_dict(copied(agent.state_dict()))
        again.streams.load_state_dict(agent.streams.state_dict())
    assert fast.compile and not eager.compile
    told = []
    for batch in (eager, fast):
        batch.update(2)
        told.append([(agent.report(), agent.state_dict()) for agent in batch.agents])
        told[-1] += batch.act(states(seeds, 4), role=eager.agents[0].roles[-1])
    assert_alike(*told, 1e-5)


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler here")
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, while it compiles


@needs_compiler
@quiet
@pytest.mark.parametrize(("method", "seeds"), [("drago-no-review", 1), ("drago", 2)])
def test_every_compiled_part_is_read_whole_and_computes_the_same(monkeypatch, method, seeds):
    # without the C++ that takes most of the time, see the slow test below
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    assert_compiled_equals_eager(method, "discrete", seeds)


@pytest.mark.slow
@needs_compiler
@quiet
@both_kinds
@pytest.mark.parametrize("seeds", [1, 2])
def test_compiled_updates_and_plans_equal_the_eager_ones(seeds, kind):
    assert_compiled_equals_eager("drago", kind, seeds)
