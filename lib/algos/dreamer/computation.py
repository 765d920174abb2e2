"""Dreamers that differ by their seed alone decide and learn as one computation.

Shapes: S seeds, E episodes under way, A action.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from lib.algos.dreamer.acting import Acting, Memory
from lib.algos.dreamer.learning import Learning


class Computation:
    """Decides and updates for a `SeedBatch` of Dreamers, see `lib.engine.seed_batch`."""

    compile = False  # the scan is no gain for PyTorch's compiler on a CPU; a GPU records graphs

    def __init__(self, agents: Sequence[Any]):
        self.agents = agents
        self.record = agents[0].cfg.engine.graphs == "auto"

    def restack(self) -> None:
        """Stacks the agents' tensors, which become views of the stacks."""
        self.learning = Learning(self.agents)
        self.acting = Acting(self.agents, self.learning, self.record)

    def act(
        self,
        obs: Tensor,
        memory: Memory | None,
        *,
        role: str,
        explore: bool,
        generators: Sequence[torch.Generator],
        heads: None,
    ) -> tuple[Tensor, Memory]:
        """Actions (S, E, A) for observations (S, E, *shape), and the memory for the next call.

        There is one role, and one policy for all tasks.
        """
        return self.acting.act(obs, memory, explore=explore, generators=generators)

    def before_updates(self) -> None:
        """Leaves learning rates as they are."""

    def next_update(self) -> tuple[Hashable, Callable[[], None]]:
        """Returns the next update with its data and random numbers drawn."""
        learning = self.learning
        noise = learning.prepare()
        networks, made = learning.networks, self.agents[0].total_updates
        waiting = networks.frozen(made), networks.model_alone(made)
        return ("update", *waiting), lambda: learning.update(noise, *waiting)

    def after_update(self) -> None:
        """Copies critics to their slow selves where it is time to."""
        self.learning.follow()
