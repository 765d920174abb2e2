"""S Dreamers, one per seed, computed as one; a single agent is a team of one.

Shapes: S seeds, E episodes under way, A action.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lib.dreamer.acting import Acting, Memory
from lib.dreamer.learning import Learning
from lib.graphs import Graphs


class Team:
    """Acts and learns for S agents that differ by their seed alone and are in lock-step.

    The agents' tensors are views of the stacks held here, made anew where an agent has replaced
    its own (`era`).
    """

    compile = False  # the scan is no gain for PyTorch's compiler on a CPU; a GPU records graphs

    def __init__(self, agents: Sequence[Any]):
        self.agents = tuple(agents)
        self.record = self.agents[0].cfg.engine.graphs == "auto"
        self._eras: list[int] = []

    @property
    def pending(self) -> int:
        """Updates that are due for every agent; at first some may have stored nothing yet."""
        return min(agent.pending for agent in self.agents)

    def _settle(self) -> None:
        """Stacks the agents' tensors anew where they have been replaced since."""
        eras = [agent.era for agent in self.agents]
        if eras == self._eras:
            return
        self._eras = eras
        device = torch.device(self.agents[0].device)
        self.learning = Learning(self.agents)
        self.acting = Acting(self.agents, self.learning, self.record)
        self.graphs = Graphs(device, self.record)

    @torch.no_grad()
    def act(
        self,
        obs: Tensor,
        memory: Memory | None = None,
        *,
        role: str = "learner",
        explore: bool = True,
        generators: Sequence[torch.Generator] | None = None,
        heads: Sequence[Any] | None = None,
    ) -> tuple[Tensor, Memory | None]:
        """Actions for S times E observations, and what the next call starts from.

        Args:
            obs: (S, E, *shape) as stored.
            memory: None at the start of all episodes, then what this returned last.
            role: "learner", the only one.
            explore: False while evaluating; what then acts is set by `explore.evaluate`.
            generators: one per seed; the agents' own if not given.
            heads: nothing; there is one policy for all tasks.

        Returns:
            (S, E, A), and the memory (None while acting at random).
        """
        self._settle()
        generators = generators or [agent.streams.act for agent in self.agents]
        first = self.agents[0]
        if explore and first.at_random:
            moves = [first.actions.random(obs.shape[1], g, obs.device) for g in generators]
            return torch.stack(moves), None
        return self.acting.act(obs, memory, explore=explore, generators=generators)

    @torch.no_grad()
    def update(self, n: int) -> None:
        """Runs n updates of every agent."""
        self._settle()
        learning = self.learning
        for _ in range(n):
            learning.follow()
            noise = learning.prepare()
            self.graphs.run("update", lambda noise=noise: learning.update(noise))
            for agent in self.agents:
                agent.updates += 1
                agent.lived_updates += 1
                agent.debt -= 1.0
