"""Acts and learns for a batch of seeds, agents that differ by their seed alone, as one computation.

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
from lib.core.trees import leaf_map, stack_copies
from lib.engine.cuda_graphs import Graphs


class Computation(Protocol):
    """The computation that all agents of a batch share, made once for a run."""

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
        """Returns the policies' actions (S, E, A), and what the next call takes as memory."""
        ...

    def before_updates(self) -> None:
        """Sets what is the same for all updates that are due now, such as learning rates."""
        ...

    def next_update(self) -> tuple[Hashable, Callable[[], None]]:
        """Draws the next update's random numbers; returns its graph's key and the update itself."""
        ...

    def after_update(self) -> None:
        """Does what follows some updates only, and so is no part of their graph."""
        ...


class BatchedAgent(Protocol):
    """What a batch asks of each of its agents."""

    device: torch.device | str
    actions: ActionSpace
    streams: Any  # its random generators, see `lib.core.seeding`
    tensor_version: int  # rises whenever the agent replaces tensors

    def computation(self, agents: Sequence[Any]) -> Computation:
        """Makes what such agents compute together."""
        ...

    def acts_at_random(self, role: str) -> bool:
        """Says whether a role still explores at random."""
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


class Batch(Protocol):
    """Agents that differ by their seed alone, as one learner; see `SeedBatch`."""

    agents: Sequence[Any]
    compile: bool
    pending: int

    def act(self, obs: Tensor, memory: Any = None, **options: Any) -> tuple[Tensor, Any]:
        """Returns actions (S, E, A) and what the next call takes as memory."""
        ...

    def update(self, n: int) -> None:
        """Makes n updates of every agent."""
        ...


def batch_of(agents: Sequence[Any]) -> Batch:
    """Returns the batch of some agents, computed together where their family can do that."""
    if not isinstance(agents[0], Batched):
        return OneByOne(agents)
    return agents[0].seed_batch if len(agents) == 1 else SeedBatch(agents)


class OneByOne:
    """Agents of a family without a joint computation, each of which acts and learns by itself."""

    compile = False

    def __init__(self, agents: Sequence[Any]):
        self.agents = tuple(agents)

    @property
    def pending(self) -> int:
        """Updates that are due for every agent."""
        return min(agent.pending for agent in self.agents)

    @property
    def observe_reward(self) -> Callable[[Any, Tensor], Any] | None:
        """What takes rewards (S, E) into a memory, of agents that decide by what they earn."""
        return getattr(self.agents[0], "observe_reward", None)

    def act(
        self,
        obs: Tensor,
        memory: Any = None,
        *,
        generators: Sequence[torch.Generator] | None = None,
        heads: Sequence[Any] | None = None,
        **options: Any,
    ) -> tuple[Tensor, Any]:
        """Actions (S, E, A) for observations (S, E, *shape); see `SeedBatch.act`."""
        count = len(self.agents)
        draws, theirs = (part or [None] * count for part in (generators, heads))
        actions, kept = [], []
        for s, agent in enumerate(self.agents):
            mine = leaf_map(lambda x, s=s: x[s], memory)
            found = agent.act(obs[s], mine, generator=draws[s], heads=theirs[s], **options)
            actions.append(found[0])
            kept.append(found[1])
        return torch.stack(actions), None if kept[0] is None else stack_copies(kept)

    def update(self, n: int) -> None:
        """Makes n updates of every agent."""
        for agent in self.agents:
            agent.update(n)


class SeedBatch:
    """Acts and learns for S agents in lock-step.

    Between two changes of `tensor_version` the agents' tensors are views of stacked ones.
    """

    def __init__(self, agents: Sequence[Any]):
        self.agents: tuple[BatchedAgent, ...] = tuple(agents)
        self.computation = self.agents[0].computation(self.agents)
        self._versions: list[int] = []

    @property
    def pending(self) -> int:
        """Updates that are due for every agent; at first some may have stored nothing yet."""
        return min(agent.pending for agent in self.agents)

    @property
    def compile(self) -> bool:
        """Says whether parts of the updates go through PyTorch's compiler."""
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
        """Returns actions for S times E observations, and what the next call starts from.

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
            self.computation.after_update()
            for agent in self.agents:
                agent.count_update()


def forget(memory: Any, over: Tensor) -> Any:
    """Clears what agents carry between decisions where episodes are over.

    Args:
        memory: nested tensors (E, ...), or None.
        over: (E,) bool.
    """
    goes_on = ~over

    def cleared(x: Tensor) -> Tensor:
        return x * goes_on.to(x.device).view(-1, *[1] * (x.dim() - 1)).to(x.dtype)

    return None if memory is None else leaf_map(cleared, memory)


class Batched:
    """Lets a single agent act and learn as a batch of one."""

    _alone: SeedBatch | None = None

    @property
    def seed_batch(self) -> SeedBatch:
        """Returns this agent as a batch of one."""
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
        """Returns actions (E, A) for observations (E, *shape); see `SeedBatch.act`."""
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
