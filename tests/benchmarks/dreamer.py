"""Dreamers at work, in the plain form and in the fast one: updates, decisions, several seeds.

A call of the plain form decides for one observation after another and learns one record after
another, as `tests/oracle/dreamer.py` has it. Replay holds random episodes of the real world.

Shapes: S seeds, E episodes.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.run_settings import DreamerRun
from lib.core.errors import UserError
from lib.core.seeding import Streams
from lib.engine import machine
from lib.engine.cuda_graphs import WARM_UP
from lib.engine.seed_batch import SeedBatch
from lib.envs import worlds
from lib.envs.api import Domain
from lib.experiments import run_config
from lib.replay.buffer import Episodes
from tests.benchmarks.measure import Form, Found, Line, compare
from tests.oracle.dreamer import PlainDreamer

if TYPE_CHECKING:
    from tests.benchmarks.engine import Engine

TOGETHER = 5  # seeds of the rows about stacked seeds
EPISODES = 4  # under way at once in the quick preset
METHODS = ("dreamer", "dreamer-p2e")
REHEARSING = "continual-dreamer-rehearsal"
SEEING = ("dreamer", "dreamer-pro", "tpc")  # agents that see pictures
PRODUCTS: dict[str, dict[str, Any]] = {
    # How the fast form multiplies matrices; the plain one stays in float32.
    "": {},
    "-tf32": {"engine.matmul": "tf32"},
    "-bf16": {"engine.matmul": "tf32", "update.precision": "bf16"},
}


@dataclass(frozen=True)
class Dream:
    """Settings to be measured.

    Args:
        preset: its name.
        products: a key of `PRODUCTS`, which ends what rows call it.
        overrides: other settings, by their dotted names.
    """

    preset: str
    products: str = ""
    overrides: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """What rows call it."""
        return self.preset + self.products

    def config(self, form: str = "fast", method: str = "dreamer") -> DreamerRun:
        """The configuration of one form."""
        products = PRODUCTS[self.products] if form == "fast" else {}
        # Visits are counted once per episode on the host: no part of an update or a decision.
        unpaid = {} if method == "dreamer-p2e" else {"explore.bonus": "none"}
        overrides = dict(self.overrides) | products | unpaid
        return run_config.resolve({"preset": self.preset, "method": method, "overrides": overrides})


def dreams(device: torch.device, quick: bool) -> tuple[Dream, ...]:
    """What is measured here: the published size on a CUDA device, the quick one on a CPU.

    One core takes half a minute for an update of the published size.
    """
    small = Dream("minigrid3-quick")
    if device.type != "cuda":
        return (small,)
    large = (Dream("minigrid3-full", "-tf32"), Dream("minigrid3-full", "-bf16"))
    return large if quick else (*large, small)


def pictures(device: torch.device, quick: bool, full: bool) -> tuple[Dream, ...]:
    """What is measured of agents that see dm_control as pictures.

    Args:
        full: the published sizes on a CPU as well, where an update takes about a minute.
    """
    drawn = (("env.render_quality", "fast"),)  # of the episodes that replay holds
    small = Dream("dmc-quick")
    if device.type != "cuda":
        return (small, Dream("dmc-full", "", drawn)) if full else (small,)
    large = (Dream("dmc-full", "-tf32", drawn), Dream("dmc-full", "-bf16", drawn))
    return large if quick else (*large, small)


class Dreamers:
    """S agents over one world, one after another ("reference") or as a batch of seeds ("fast")."""

    def __init__(self, cfg: DreamerRun, form: str, device: torch.device, seeds: int = 1):
        self.cfg, self.device = cfg, device
        self.domain: Domain = worlds.build(cfg.env, cfg.tasks, device)
        episodes = random_episodes(self.domain)
        build = DreamerAgent if form == "fast" else PlainDreamer
        self.agents = [self._agent(build, seed, episodes) for seed in range(seeds)]
        self.obs = episodes.obs[:, 0]
        self.batch = SeedBatch(self.agents) if form == "fast" else None

    def _agent(self, build: type[DreamerAgent], seed: int, episodes: Episodes) -> DreamerAgent:
        world, streams = self.domain, Streams(seed, self.device)
        agent = build(self.cfg, world.obs_space, world.actions, streams, self.device)
        agent.begin_task(0)
        agent.store("learner", episodes)
        agent.count_steps(self.cfg.update.prefill)  # no longer at random
        return agent

    def settled(self) -> AbstractContextManager[None]:
        """Threads and precision of products as a run has them."""
        return machine.settled(self.cfg, self.device, False)

    def update(self) -> None:
        """One update of every seed."""
        if self.batch is not None:
            self.batch.update(1)
            return
        for agent in self.agents:
            agent.update(1)

    def deciding(self, episodes: int) -> Callable[[], None]:
        """A call that decides once for so many episodes of every seed, as within an episode."""
        times = -(-episodes // len(self.obs))
        obs, memory = self.obs.repeat(times, *[1] * (self.obs.dim() - 1))[:episodes], None

        def decide() -> None:
            nonlocal memory
            if self.batch is not None:
                each = obs.expand(len(self.agents), *obs.shape)
                _, memory = self.batch.act(each, memory)
                return
            past = memory or [None] * len(self.agents)
            told = [a.act(obs, kept) for a, kept in zip(self.agents, past, strict=True)]
            memory = [kept for _, kept in told]

        return decide

    def form(self, call: Callable[[], object], work: float = 1.0) -> Form:
        """A piece of work, with as many calls before it as recording takes."""
        warm = WARM_UP + 2 if self.batch is not None and self.device.type == "cuda" else 1
        return Form(call, work, warm, self.settled)


def random_episodes(domain: Domain, count: int = 8) -> Episodes:
    """Episodes of random actions in the first task."""
    env, draws = domain.make(0), torch.Generator().manual_seed(0)
    obs = env.reset(count, draws)
    seen, actions, rewards = [obs], [], []
    alive, length = torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.long)
    for _ in range(domain.episode_length):
        length += alive
        actions.append(env.actions.random(count, draws, obs.device))
        obs, reward = env.step(actions[-1])
        alive = ~env.ended
        seen.append(obs)
        rewards.append(reward)
    terminal, success = env.terminal.clone(), env.success.clone()
    env.close()
    parts: list[Tensor] = [torch.stack(part, 1) for part in (seen, actions, rewards)]
    return Episodes(*parts, length, terminal, success)


# The rows -------------------------------------------------------------------------------------


def dreaming(engine: "Engine", peak: float) -> Iterator[Line]:
    """Milliseconds of an update, a decision, an update of five seeds, and one that rehearses.

    The reference of several seeds is the fast form too, each seed in turn; that of dream rehearsal
    is the fast update without it.
    """
    device = engine.device
    for dream in engine.scale.dreams:
        for method in METHODS:
            plain, fast = pair(engine, dream, method)
            found = measured(engine, plain.form(plain.update), fast.form(fast.update))
            words = "exploring, " if method != "dreamer" else ""
            yield found.duration(f"dreamer updates, {words}{dream.label}")
        plain, fast = pair(engine, dream, "dreamer")
        for episodes in (1, EPISODES):
            forms = [one.form(one.deciding(episodes)) for one in (plain, fast)]
            noun = "episode" if episodes == 1 else "episodes"
            name = f"dreamer decisions, {episodes} {noun}, {dream.label}"
            yield measured(engine, *forms).duration(name)
        together = Dreamers(dream.config(), "fast", device, TOGETHER)

        def in_turn(fast: Dreamers = fast) -> None:
            for _ in range(TOGETHER):
                fast.update()

        found = measured(engine, fast.form(in_turn), together.form(together.update))
        yield found.duration(f"dreamer seeds, S = {TOGETHER}, {dream.label}")
        rehearsing = Dreamers(dream.config(method=REHEARSING), "fast", device)
        found = measured(engine, fast.form(fast.update), rehearsing.form(rehearsing.update))
        yield found.duration(f"dreamer updates, rehearsing, {dream.label}")


def seeing(engine: "Engine", peak: float) -> Iterator[Line]:
    """Milliseconds of an update of every agent that sees pictures; nothing where none is drawn."""
    for dream in engine.scale.pictures:
        for method in SEEING:
            try:
                plain, fast = pair(engine, dream, method)
            except UserError as error:
                print(f"no rows of {dream.label}: {error}", file=sys.stderr)
                return
            found = measured(engine, plain.form(plain.update), fast.form(fast.update))
            yield found.duration(f"dreamer updates, {method}, {dream.label}")


def pair(engine: "Engine", dream: Dream, method: str) -> tuple[Dreamers, Dreamers]:
    """Both forms at work, made when first asked for."""

    def make() -> tuple[Dreamers, ...]:
        forms = ("reference", "fast")
        return tuple(Dreamers(dream.config(f, method), f, engine.device) for f in forms)

    return engine.once(("dreamers", dream, method), make)


def measured(engine: "Engine", reference: Form, fast: Form) -> Found:
    """Both forms in turns."""
    return compare(reference, fast, engine.device, engine.scale.effort)
