"""Learners at work, in the plain form and in the fast one, as the measurements need them.

A *size* is a preset of `lib.algos.tdmpc.presets`. Ramps are off, so every plan has the whole
horizon, and so is random warm-up; replay holds random episodes of the real world. Nothing else
differs from a run. Shapes: S seeds, E environments, L observation, A action.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.settings import TdmpcRun
from lib.analysis import bench
from lib.core.seeding import Streams
from lib.engine import machine
from lib.engine.seed_batch import SeedBatch
from lib.envs import worlds
from lib.envs.api import Domain, VectorEnv
from lib.experiments import run_config
from lib.replay.buffer import Episodes
from lib.runner.evaluate import unbroken
from tests.oracle.agent import PlainAgent

FORMS = ("reference", "fast")
STEADY: dict[str, Any] = {
    # Every plan as long as the task allows, planning from the first decision on.
    "planner.horizon_ramp": 0,
    "learning.seed_steps": 0,
}
LOWER: dict[str, Any] = {"planner.precision": "bf16", "engine.matmul": "tf32"}


@dataclass(frozen=True)
class Size:
    """Settings to be measured.

    Args:
        preset: its name.
        many: states planned for at once.
        overrides: other settings, by their dotted names.
        full: the preset is the published one; a run may collect `many` episodes of it at once.
        lower: the fast form may compute in lower precision, as `LOWER` says.
    """

    preset: str
    many: int
    overrides: tuple[tuple[str, Any], ...] = ()
    full: bool = False
    lower: bool = False

    @property
    def label(self) -> str:
        """What rows call it."""
        return self.preset + (bench.LOWER if self.lower else "")

    def config(self, form: str = "fast", **changes: Any) -> TdmpcRun:
        """The steady configuration; double underscores in names of changes stand for dots."""
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        lower = LOWER if self.lower and form == "fast" else {}
        overrides = STEADY | dict(self.overrides) | lower | dotted
        return run_config.resolve({"preset": self.preset, "overrides": overrides})

    def published(self) -> TdmpcRun:
        """The preset as a run has it, with ramps and warm-up, to count what a run does."""
        return run_config.resolve({"preset": self.preset, "overrides": dict(self.overrides)})


class Learners:
    """S agents in one task of a run: in turn ("reference") or as a batch of seeds ("fast")."""

    def __init__(
        self, cfg: TdmpcRun, form: str, device: torch.device, task: int = 0, seeds: int = 1
    ):
        self.cfg, self.form, self.device = cfg, form, device
        self.domain: Domain = worlds.build(cfg.env, cfg.tasks, device)
        self.agents = [self._agent(seed) for seed in range(seeds)]
        self.batch: SeedBatch | None = None
        for index in range(task + 1):
            self.begin(index)
        if form == "fast":
            self.batch = SeedBatch(self.agents)

    def _agent(self, seed: int) -> Any:
        world = self.domain
        build = ContinualAgent if self.form == "fast" else PlainAgent
        return build(
            self.cfg,
            world.obs_dim,
            world.actions,
            world.episode_length,
            Streams(seed, self.device),
            self.device,
            grid_size=world.grid_size,
        )

    def settled(self) -> AbstractContextManager[None]:
        """Threads and precision of products as a run of this form has them."""
        return machine.settled(self.cfg, self.device, bool(self.batch and self.batch.compile))

    def begin(self, task: int) -> None:
        """Crosses into a task and gives every role random episodes of it to learn from."""
        rows = 2 * self.cfg.learning.batch
        count = max(self.cfg.budget.parallel_envs, math.ceil(rows / self.domain.episode_length))
        draws = torch.Generator(self.device).manual_seed(task)
        self.episodes = random_episodes(self.domain.make(task), count, draws)
        for agent in self.agents:
            agent.begin_task(task)
            for role in agent.roles:
                agent.store(role, self.episodes)
            agent.round_steps = agent.steps  # the next round begins, past any warm-up

    def states(self, count: int) -> Tensor:
        """(S, count, L) observations from the episodes, the same for every seed."""
        met = self.episodes.obs.flatten(0, 1)
        chosen = torch.arange(count, device=met.device) * (len(met) // count or 1) % len(met)
        return met[chosen].expand(len(self.agents), -1, -1)

    def act(self, obs: Tensor, memory: Any, role: str) -> tuple[Tensor, Any]:
        """(S, E, L) to (S, E, A) and the next call's memory; None begins an episode."""
        if self.batch is not None:
            return self.batch.act(obs, memory, role=role)
        past = memory or [None] * len(self.agents)
        told = [
            agent.act(obs[s], past[s], role=role, explore=True)
            for s, agent in enumerate(self.agents)
        ]
        return torch.stack([action for action, _ in told]), [kept for _, kept in told]

    def planning(self, states: int, role: str = "learner") -> Callable[[], None]:
        """A call that plans once for so many states of every seed, as within an episode."""
        obs, memory = self.states(states), None

        def plan() -> None:
            nonlocal memory
            _, memory = self.act(obs, memory, role)

        return plan

    def update(self, n: int) -> None:
        """Runs n updates of every seed."""
        if self.batch is not None:
            self.batch.update(n)
            return
        for agent in self.agents:
            agent.update(n)

    def collect(self, task: int) -> None:
        """Every role plays its episodes and stores them, as a run does between updates."""
        for role in self.agents[0].roles:
            played = self.play(self.domain.make(task), role)
            for agent, episodes in zip(self.agents, played, strict=True):
                agent.store(role, episodes)

    def play(self, env: VectorEnv, role: str) -> list[Episodes]:
        """`budget.parallel_envs` episodes of each seed, in one batch of environments."""
        seeds, each = len(self.agents), self.cfg.budget.parallel_envs
        draws = torch.Generator(self.device).manual_seed(0)
        obs, memory = env.reset(seeds * each, draws), None
        seen, actions, rewards = [obs], [], []
        for _ in range(env.episode_length):
            action, memory = self.act(obs.view(seeds, each, -1), memory, role)
            actions.append(action.flatten(0, 1))
            obs, reward = env.step(actions[-1])
            seen.append(obs)
            rewards.append(reward)
        parts = [torch.stack(part, 1) for part in (seen, actions, rewards)]
        return [
            Episodes(*(part[s * each : (s + 1) * each] for part in parts)) for s in range(seeds)
        ]


def random_episodes(env: VectorEnv, count: int, generator: torch.Generator) -> Episodes:
    """Episodes of random actions, (count, ...), finite ones only."""
    obs = env.reset(count, generator)
    seen, actions, rewards = [obs], [], []
    for _ in range(env.episode_length):
        actions.append(env.actions.random(count, generator, obs.device))
        obs, reward = env.step(actions[-1])
        seen.append(obs)
        rewards.append(reward)
    episodes = Episodes(*(torch.stack(part, 1) for part in (seen, actions, rewards)))
    return unbroken(episodes, env)
