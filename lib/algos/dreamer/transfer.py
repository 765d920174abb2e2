"""A Dreamer starts from another run's world model, actors and critics."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lib.algos.api import Foreign, Moved
from lib.algos.dreamer import meta, parameter_transfer, parts
from lib.core.config import RunConfig
from lib.core.errors import UserError

if TYPE_CHECKING:
    from lib.algos.dreamer.agent import DreamerAgent


class WarmStart:
    """Starts an agent from another run's parts: a `lib.algos.api.Transfer`."""

    def __init__(self, agent: "DreamerAgent"):
        self.agent = agent

    def template(self, with_heads: bool) -> dict[str, Any]:
        """Returns what a checkpoint must hold to be loaded here: parts, names, tensors."""
        state = self.agent.state_dict(with_replay=False)
        return state if with_heads else {"world_model": state["world_model"]}

    def check(self, theirs: RunConfig, path: Path) -> None:
        """Raises UserError where another run's world model has another objective."""
        mine = self.agent.cfg
        name, wanted = theirs.objective.representation, mine.objective.representation
        if name != wanted:
            raise UserError(
                f"'{path}' holds a world model with the objective '{name}', and this run's is "
                f"'{wanted}'; name a run with the same one, or set objective.representation={name}"
            )

    def load_world_model(self, parts: dict[str, Any]) -> None:
        """Takes another run's world model; everything else stays fresh."""
        self.agent.load_world_model(parts)

    def load_heads(self, state: dict[str, Any]) -> None:
        """Takes the actors and critics of another run."""
        self.agent.load_behaviour(state["learner"])

    def load_parts(self, state: dict[str, Any]) -> list[Moved]:
        """Takes what the run's section `transfer` says of another run's agent, tensor by tensor.

        Slow critics, and an averaged world model, start as copies of what comes out.
        """
        agent, cfg = self.agent, self.agent.cfg.transfer
        mine = parts.named(agent.state_dict(with_replay=False))
        columns = agent.networks.modules["model"].rssm.latent.size
        found, rows = parameter_transfer.transfer(
            parts.named(state),
            mine,
            parameter_transfer.share_of(cfg),
            parameter_transfer.rules_of(cfg, mine, columns),
        )
        agent.load_tensors(found)
        return rows

    def take(self, foreign: Foreign, tensors: Mapping[str, Tensor]) -> list[Moved]:
        """Takes a part of another run that the section `meta` names."""
        return meta.take(self.agent, foreign, tensors)

    def finish_schedules(self) -> None:
        """Ends the random actions of the prefill, Dreamer's one schedule."""
        agent = self.agent
        agent.total_env_steps = max(agent.total_env_steps, agent.cfg.update.prefill)
