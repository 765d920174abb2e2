"""One batch of seeds: agents that differ by their seed alone act and learn as one computation.

An algorithm is written for one seed. Its `Computation` stacks the tensors of all agents and maps
the algorithm over them; the batch decides when tensors are stacked anew, who acts at random, and
which updates a CUDA graph replays. A single agent is a batch of one.

Shapes: S seeds, E episodes, A numbers in an action.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from lib.core.spaces import ActionSpace
from lib.engine.cuda_graphs import Graphs


class Computation(Protocol):
    """What all agents of a batch compute together, made once for a run."""

    compile: bool  # whether parts go through PyTorch's compiler
    record: bool  # whether CUDA graphs are recorded where there is a GPU

    def restack(self) -> None:
        """Stacks the agents' tensors, which become views of the stacks."""
        ...

    def act(
        self,
        obs: Tensor,
        memory: Any,
        *,
        role: str,
        explore: bool,
        generators: Sequence[torch.Generator],
        heads: Sequence[Any] | None,
        **options: Any,
    ) -> tuple[Tensor, Any]:
        """Actions (S, E, A) of the agents' policies, and what the next call takes as memory."""
        ...

    def before_updates(self) -> None:
        """Whatever is the same for all updates that are due now, such as learning rates."""
        ...

    def next_update(self) -> tuple[Hashable, Callable[[], None]]:
        """The next update with its random numbers drawn: the key of its graph, and the work."""
        ...


class BatchedAgent(Protocol):
    """What a batch asks of each of its agents."""

    device: torch.device | str
    actions: ActionSpace
    streams: Any  # its random generators, see `lib.core.seeding`
    tensor_version: int  # rises whenever the agent replaces tensors

    def computation(self, agents: Sequence[Any]) -> Computation:
        """What such agents compute together."""
        ...

    def acts_at_random(self, role: str) -> bool:
        """Whether a role still explores at random."""
        ...

    def visit(self, role: str, obs: Tensor) -> None:
        """Notes the observations (E, *shape) that a role is about to explore from."""
        ...

    def count_update(self) -> None:
        """Counts one update that was made."""
        ...

    @property
    def pending(self) -> int:
        """Updates that are due."""
        ...


class SeedBatch:
    """Acts and learns for S agents in lock-step.

    Between two changes of `tensor_version` the agents' tensors are views of stacked ones.
    """

    def __init__(self, agents: Sequence[Any]):
        self.agents: tuple[BatchedAgent, ...] = tuple(agents)
        self.computation = self.agents[0].computation(self.agents)
        self._versions: list[int] = []

    @classmethod
    def of(cls, agents: Sequence[Any]) -> "SeedBatch":
        """The batch of some agents; a single one has its own already."""
        return agents[0].seed_batch if len(agents) == 1 else cls(agents)

    @property
    def pending(self) -> int:
        """Updates that are due for every agent; at first some may have stored nothing yet."""
        return min(agent.pending for agent in self.agents)

    @property
    def compile(self) -> bool:
        """Whether parts of the updates go through PyTorch's compiler."""
        return self.computation.compile

    def _restack(self) -> None:
        """Stacks the agents' tensors anew where they have been replaced since."""
        versions = [agent.tensor_version for agent in self.agents]
        if versions == self._versions:
            return
        self._versions = versions
        device = torch.device(self.agents[0].device)
        self.graphs = Graphs(device, self.computation.record)
        self.computation.restack()

    @torch.no_grad()
    def act(
        self,
        obs: Tensor,
        memory: Any = None,
        *,
        role: str = "learner",
        explore: bool = True,
        generators: Sequence[torch.Generator] | None = None,
        heads: Sequence[Any] | None = None,
        **options: Any,
    ) -> tuple[Tensor, Any]:
        """Actions for S times E observations, and what the next call starts from.

        Args:
            obs: (S, E, *shape).
            memory: None at the start of all episodes, then what this returned last.
            role: one of the agents' roles.
            explore: False while evaluating; only exploration is ever random.
            generators: one per seed; the agents' own if not given.
            heads: one per seed, to act with instead of the role's own.
            options: what else the family's policies take.

        Returns:
            (S, E, A), and the memory (None while acting at random).
        """
        self._restack()
        generators = generators or [agent.streams.act for agent in self.agents]
        if explore:
            for agent, seen in zip(self.agents, obs, strict=True):
                agent.visit(role, seen)
            first = self.agents[0]
            if first.acts_at_random(role):
                moves = [first.actions.random(obs.shape[1], g, obs.device) for g in generators]
                return torch.stack(moves), None
        return self.computation.act(
            obs,
            memory,
            role=role,
            explore=explore,
            generators=generators,
            heads=heads,
            **options,
        )

    @torch.no_grad()
    def update(self, n: int) -> None:
        """Makes n updates of every agent."""
        self._restack()
        self.computation.before_updates()
        for _ in range(n):
            key, work = self.computation.next_update()
            self.graphs.run(key, work)
            for agent in self.agents:
                agent.count_update()


class Batched:
    """The single agent's side of a batch: its own batch of one, and acting through it."""

    _alone: SeedBatch | None = None

    @property
    def seed_batch(self) -> SeedBatch:
        """This agent as a batch of one."""
        if self._alone is None:
            self._alone = SeedBatch([self])
        return self._alone

    def act(
        self,
        obs: Tensor,
        memory: Any,
        *,
        generator: torch.Generator | None = None,
        heads: Any = None,
        **options: Any,
    ) -> tuple[Tensor, Any]:
        """Actions (E, A) for observations (E, *shape); see `SeedBatch.act`."""
        action, kept = self.seed_batch.act(
            obs.unsqueeze(0),
            None if memory is None else memory.unsqueeze(0),
            generators=[generator] if generator else None,
            heads=[heads] if heads else None,
            **options,
        )
        return action.squeeze(0), None if kept is None else kept.squeeze(0)

    def update(self, n: int) -> None:
        """Makes n updates."""
        self.seed_batch.update(n)

    def visit(self, role: str, obs: Tensor) -> None:
        """Notes nothing, unless an agent says otherwise."""
