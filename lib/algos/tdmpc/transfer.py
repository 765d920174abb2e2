"""A TD-MPC agent keeps a task's heads for later, and starts from the parts of another run.

Shapes: see `lib.algos.tdmpc.model`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lib.algos.tdmpc.model import Heads
from lib.core.config import RunConfig
from lib.core.errors import UserError

if TYPE_CHECKING:
    from lib.algos.tdmpc.agent import ContinualAgent


class KeptHeads(NamedTuple):
    """What acts an earlier task."""

    heads: Heads
    horizon: int  # that of the task's plans


class TaskHeads:
    """Keeps what acts a task: a `lib.algos.api.Heads`."""

    def __init__(self, agent: "ContinualAgent"):
        self.agent = agent

    def save(self) -> dict[str, Any]:
        """Returns a copy of the heads that evaluations use, and the horizon, as nested tensors."""
        heads = self._copy(self.agent.evaluated_heads.state_dict())
        return {"heads": heads.state_dict(), "horizon": torch.tensor(self.agent.horizon)}

    def load(self, saved: dict[str, Any]) -> KeptHeads:
        """Returns what `act` takes as heads, from what `save` gave."""
        return KeptHeads(self._copy(saved["heads"]), int(saved["horizon"]))

    def _copy(self, state: dict[str, Any]) -> Heads:
        heads = self.agent.new_heads(torch.Generator()).requires_grad_(False)
        heads.load_state_dict(state)
        return heads


class WarmStart:
    """Starts an agent from another run's parts: a `lib.algos.api.Transfer`."""

    load_parts = None
    take = None

    def __init__(self, agent: "ContinualAgent"):
        self.agent = agent

    def template(self, with_heads: bool) -> dict[str, Any]:
        """Returns what a checkpoint must hold to be loaded here: parts, names, tensors."""
        world = self.agent.world_model()
        heads = {"learner": {"heads": self.agent.new_heads(torch.Generator()).state_dict()}}
        return {"world_model": world} | (heads if with_heads else {})

    def check(self, theirs: RunConfig, path: Path) -> None:
        """Raises UserError where another run's world model lacks what this method needs of it."""
        mine = self.agent.cfg
        for p in self.agent.protections:
            if lacks := p.lacks(getattr(theirs.protections, p.name), path):
                raise UserError(
                    f"method '{mine.method_name}' {lacks} (method '{theirs.method_name}'); load "
                    "from a run that trains one, such as drago, or use method 'tdmpc'"
                )

    def load_world_model(self, parts: dict[str, Any]) -> None:
        """Takes dynamics, generator and threshold from another run; the rest stays fresh."""
        self.agent.load_world_model(parts)

    def load_heads(self, state: dict[str, Any]) -> None:
        """Takes the heads of another run's agents; the reviewer falls back to the learner's."""
        agent = self.agent
        agent.learner.load_state_dict({"heads": state["learner"]["heads"]})
        if agent.reviewer:
            source = state.get("reviewer") or state["learner"]
            agent.reviewer.load_state_dict({"heads": source["heads"]})
        agent.average_anew()

    def finish_schedules(self) -> None:
        """Plans from now on with the full horizon of the task and the final noise."""
        cfg = self.agent.cfg
        ramps = (cfg.planner.horizon_ramp, cfg.planner.std_ramp)
        self.agent.steps = max(cfg.decisions_per_task, *ramps)
