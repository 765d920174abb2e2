"""A way to explore may have a behaviour, a network, or pay of its own.

The base class adds nothing: the task's own policy, which is random, collects.

Letters: E episodes, T records, B sequences.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib.algos.dreamer.behaviour import Behaviour
from lib.algos.dreamer.rssm import Observed, State
from lib.algos.dreamer.run_settings import DreamerRun
from lib.algos.dreamer.world_model import WorldModel
from lib.core.spaces import ActionSpace
from lib.replay.buffer import Episodes


class Exploration:
    """A way to explore, of one agent. A subclass defines what it needs of this."""

    behaviour: Behaviour | None = None
    """A second behaviour, which acts while collecting."""

    network: str | None = None
    """A network that learns from what the world model observed; see `build` and `loss`."""

    measures_uncertainty: ClassVar[bool] = False
    """Whether `uncertainty` says how little is known of an episode."""

    def __init__(self, cfg: DreamerRun):
        self.cfg = cfg

    @classmethod
    def check(cls, run: DreamerRun) -> None:
        """Raises UserError where a run's settings do not allow this way to explore."""

    # --- a network of its own ----------------------------------------------------------------

    def build(self, features: int, actions: ActionSpace, generator: torch.Generator) -> nn.Module:
        """Returns `network` as it starts, on the CPU."""
        raise NotImplementedError(f"{type(self).__name__} has no network")

    def loss(
        self, network: Any, model: WorldModel, observed: Observed, action: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the network's loss on a batch (T, B, ·) that was observed, and scalars to log."""
        raise NotImplementedError(f"{type(self).__name__} has no network")

    def uncertainty(
        self, network: Any, model: WorldModel, state: State, action: Tensor, length: Tensor
    ) -> Tensor:
        """Returns how little is known of whole episodes, per step: (E,).

        Args:
            state: (T+1, E, ·) posterior states. action: (T+1, E, A) that led to each record.
            length: (E,) steps.
        """
        raise NotImplementedError(f"{type(self).__name__} measures no uncertainty")

    # --- pay for what was collected ----------------------------------------------------------

    def begin_task(self) -> None:
        """Forgets what belonged to the last task."""

    def pay(self, episodes: Episodes) -> Episodes:
        """Returns episodes as they are stored, their rewards with a bonus."""
        return episodes

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps of it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
