"""TD-MPC agents that differ by their seed alone plan and learn as one computation.

Shapes: S seeds, E environments, L observation, A action.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from lib.algos.tdmpc.acting import Acting
from lib.algos.tdmpc.graph_key import next_key
from lib.algos.tdmpc.learning import Learning, Step, steps
from lib.algos.tdmpc.transfer import KeptHeads
from lib.algos.tdmpc.update import update
from lib.core import planning
from lib.engine import compiling
from lib.engine.minimise import Minimise


class Computation:
    """Computes what a `SeedBatch` of TD-MPC agents asks for, see `lib.engine.seed_batch`."""

    def __init__(self, agents: Sequence[Any]):
        self.agents, first = agents, agents[0]
        engine, device = first.cfg.engine, torch.device(first.device)
        self.compile = compiling.chosen(engine.compile, device, _updates(first.cfg))
        self.record = engine.graphs == "auto"
        self.steps: dict[tuple[str, ...], tuple[dict[str, Step], dict[str, Minimise]]] = {}
        self.acting = Acting(agents, first.skeleton(), self.record, self.compile)

    def restack(self) -> None:
        """Stacks the agents' tensors, which become views of the stacks."""
        networks = tuple(self.agents[0].skeleton())
        if networks not in self.steps:  # made anew, they would be compiled anew
            self.steps[networks] = self._make_steps()
        self.learning = Learning(self.agents, *self.steps[networks])
        self.acting.begin(self.learning)

    def _make_steps(self) -> tuple[dict[str, Step], dict[str, Minimise]]:
        """Returns the steps of an update, and what makes them for all seeds."""
        first = self.agents[0]
        found = steps(first.cfg, first.roles, first.protections, first.old_dynamics is not None)
        modules = first.skeleton()
        return found, {
            name: Minimise(
                step.loss,
                {network: modules[network] for network in step.networks},
                len(self.agents),
                clip=step.clip,
                compile=self.compile,
                name=name.replace("/", "_"),
            )
            for name, step in found.items()
        }

    def act(
        self,
        obs: Tensor,
        memory: Tensor | None,
        *,
        role: str,
        explore: bool,
        generators: Sequence[torch.Generator],
        heads: Sequence[KeptHeads] | None,
        trace: planning.Trace | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Returns planned actions (S, E, A), and plan means (S, E, H, A) for the next call.

        Args:
            obs: (S, E, L).
            trace: called with every iteration of the S times E searches.
        """
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

    def before_updates(self) -> None:
        """Sets the learning rates that the agents' steps ask for."""
        for agent in self.agents:
            agent.schedule_lr()

    def next_update(self) -> tuple[Hashable, Callable[[], None]]:
        """Draws the next update's random numbers; returns the key of its graph, and the work."""
        learning, key = self.learning, next_key(self.agents[0])
        noise = learning.noise(key)
        return key, lambda: update(learning, key, noise)

    def after_update(self) -> None:
        """Takes the newest weights into the averages."""
        self.learning.average()


def _updates(cfg: Any) -> int:
    """Estimates how many updates a run will make."""
    return int(cfg.decisions_per_task * max(1, len(cfg.tasks)) * cfg.learning.updates_per_step)
