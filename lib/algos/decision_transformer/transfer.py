"""A sequence model starts a stream from another run's model, or goes on with all of its modules."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from lib.core.config import RunConfig, to_dict
from lib.core.errors import UserError

if TYPE_CHECKING:
    from lib.algos.decision_transformer.agent import SequenceAgent


def fingerprint(model: nn.Module, but: set[str]) -> str:
    """Returns a digest of a model's weights.

    Args:
        but: names of parameters that do not count, because they go on learning.
    """
    digest = hashlib.sha256()
    for name, p in sorted(model.named_parameters()):
        if name not in but:
            digest.update(name.encode())
            digest.update(p.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class WarmStart:
    """Starts an agent from another run's parts: a `lib.algos.api.Transfer`.

    A run's "world model" is the sequence model itself; its "heads" are the modules of a modulator
    and the returns to ask for.
    """

    load_parts = take = None  # single tensors of another run are not taken

    def __init__(self, agent: "SequenceAgent"):
        self.agent = agent

    def template(self, with_heads: bool) -> dict[str, Any]:
        """Returns what a checkpoint must hold to be loaded here: parts, names, tensors."""
        state = self.agent.state_dict(with_replay=False)
        return state if with_heads else {"world_model": state["world_model"]}

    def check(self, theirs: RunConfig, path: Path) -> None:
        """Raises UserError where another run's model has other sizes."""
        mine = self.agent.cfg
        one, other = to_dict(theirs.model), to_dict(mine.model)
        free = ("dropout", "decode")  # which change no tensor
        if different := [n for n in one if one[n] != other[n] and n not in free]:
            told = "; ".join(f"model.{n} {one[n]} there, {other[n]} here" for n in different[:3])
            raise UserError(
                f"'{path}' holds a model of another layout ({told}); name a run with the same one, "
                "or give these settings"
            )

    def load_world_model(self, parts: dict[str, Any]) -> None:
        """Takes another run's model; everything else stays fresh."""
        self.agent.model.load_state_dict(parts["model"])

    def load_heads(self, state: dict[str, Any]) -> None:
        """Takes the modules of another run.

        Raises:
            UserError: they were trained on another model than the one at hand.
        """
        agent, learner = self.agent, state["learner"]
        agent.check_base(learner["base"])
        agent.modulator.load_state_dict(learner["modulator"])
        agent.targets.copy_(learner["targets"])
        agent.base = learner["base"]

    def finish_schedules(self) -> None:
        """Does nothing: what acts does not change over a task's updates."""
