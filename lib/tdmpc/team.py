"""S continual agents, one per seed, computed as one.

An agent owns its state and what happens at a task's boundary; a team computes what happens all
the time, plans and updates, for all of its agents at once. A single agent is a team of one.

Shapes: S seeds, E environments, L observation, A action.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lib import compiling
from lib.graphs import Graphs
from lib.tdmpc import planner
from lib.tdmpc.acting import Acting
from lib.tdmpc.learning import Learning
from lib.tdmpc.model import Heads
from lib.tdmpc.pieces import Pieces
from lib.tdmpc.variants import variant


class Team:
    """Acts and learns for S agents that differ by their seed alone and are in lock-step.

    Between two task boundaries the agents' tensors are views of the stacks held here.
    """

    def __init__(self, agents: Sequence[Any]):
        self.agents = tuple(agents)
        first = self.agents[0]
        cfg = first.cfg
        self.compile = compiling.chosen(
            cfg.engine.compile, torch.device(first.device), _updates(cfg)
        )
        self.record = cfg.engine.graphs == "auto"
        modules = first.skeleton()
        self.pieces = Pieces(cfg, modules, len(self.agents), self.compile)
        self.acting = Acting(self.agents, modules, self.record, self.compile)
        self._eras: list[int] = []

    @property
    def pending(self) -> int:
        """Updates that are due, the same for every agent."""
        return self.agents[0].pending

    def _settle(self) -> None:
        """Stacks the agents' tensors anew where a task has begun since."""
        eras = [agent.era for agent in self.agents]
        if eras == self._eras:
            return
        self._eras = eras
        self.learning = Learning(self.agents, self.pieces)
        self.graphs = Graphs(torch.device(self.agents[0].device), self.record)
        self.acting.begin(self.learning)

    @torch.no_grad()
    def act(
        self,
        obs: Tensor,
        memory: Tensor | None = None,
        *,
        role: str = "learner",
        explore: bool = True,
        generators: Sequence[torch.Generator] | None = None,
        heads: Sequence[Heads] | None = None,
        trace: planner.Trace | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Actions for S times E observations, and what the next call starts from.

        Args:
            obs: (S, E, L).
            memory: None at the start of an episode, then what this returned last.
            explore: False while evaluating; warm-up is random only while exploring.
            generators: one per seed; the agents' own if not given.
            heads: one per seed, to act with instead of the role's own.
            trace: called with every iteration of the S times E searches.

        Returns:
            (S, E, A), and plan means (S, E, H, A) or None while acting at random.
        """
        self._settle()
        generators = generators or [agent.streams.act for agent in self.agents]
        if explore and role == "reviewer":
            for agent, seen in zip(self.agents, obs, strict=True):
                if agent.reviewer.counts:
                    agent.reviewer.counts.visit(seen)
        first = self.agents[0]
        if explore and first.at_random(role):
            moves = [first.actions.random(obs.shape[1], g, obs.device) for g in generators]
            return torch.stack(moves), None
        plan = self.acting.plan(
            obs,
            memory,
            role=role,
            explore=explore,
            generators=generators,
            heads=heads,
            trace=trace,
        )
        return plan.action, plan.mean

    @torch.no_grad()
    def update(self, n: int) -> None:
        """Runs n updates of every agent."""
        self._settle()
        for agent in self.agents:
            agent.schedule_lr()
        learning = self.learning
        for _ in range(n):
            kind = variant(self.agents[0])
            noise = learning.noise(kind)
            self.graphs.run(kind, lambda v=kind, x=noise: learning.update(v, x))
            for agent in self.agents:
                agent.updates += 1
                agent.debt -= 1.0


def _updates(cfg: Any) -> int:
    """Updates that a run will make, about."""
    return int(cfg.decisions_per_task * max(1, len(cfg.tasks)) * cfg.learning.updates_per_step)
