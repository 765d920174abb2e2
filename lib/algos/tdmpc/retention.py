"""What keeps earlier tasks alive in the dynamics, for every method: `MethodConfig` switches parts.

Dreams of a generator answered by a frozen model (DRAGO, pseudo-rehearsal), stored transitions
(stored replay, multitask), or anchors for the weights (EWC).

Shapes: B rows, L observation, A action.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from lib.algos.tdmpc.consolidation import Consolidation
from lib.algos.tdmpc.model import Dynamics
from lib.algos.tdmpc.settings import TdmpcRun
from lib.core.nn import parameter_bytes
from lib.core.seeding import Streams
from lib.engine import optim
from lib.replay.generative import Vae
from lib.replay.stored import TransitionMemory

Transitions = tuple[Tensor, Tensor, Tensor]  # (N, L), (N, A), (N, L)


class Retention:
    """The memory beside the dynamics. `old_dynamics` is None until there is something to keep."""

    def __init__(
        self,
        cfg: TdmpcRun,
        obs_dim: int,
        action_dim: int,
        streams: Streams,
        device: torch.device | str,
    ):
        self.cfg, self.draws, self.device = cfg, streams.update, device
        self.split = (obs_dim, action_dim)
        sizes = (obs_dim + action_dim, cfg.vae.width, cfg.vae.code)
        self.vae = Vae(*sizes, streams.init).to(device)
        self.old_vae: Vae | None = None
        self.old_dynamics: Dynamics | None = None
        self.consolidation = Consolidation()
        capacity = max(1, parameter_bytes(self.vae) // TransitionMemory.bytes_each(*self.split))
        if cfg.method.memory == "everything":
            capacity = None
        self.stored = TransitionMemory(capacity, obs_dim, action_dim, device)
        self.open_task()

    def open_task(self) -> None:
        """Starts the generator's optimiser afresh."""
        self.vae_adam = optim.Adam.over(self.vae.parameters(), self.cfg.vae.lr)

    def remember(self, dynamics: Dynamics, transitions: Transitions) -> None:
        """Takes from a finished task's data what the baselines keep of it."""
        if self.cfg.method.ewc:
            self.consolidation.consolidate(dynamics, transitions, self.draws)
        if self.cfg.method.rehearse == "stored":
            self.stored.add(*transitions, self.draws)

    def freeze(self, dynamics: Dynamics) -> None:
        """Makes today's dynamics and generator the ones that later tasks are measured against."""
        self.old_dynamics = dynamics.frozen()
        self.old_vae = copy.deepcopy(self.vae).requires_grad_(False)

    def due(self, updates: int) -> bool:
        """Whether the update with this number rehearses."""
        on = self.cfg.method.rehearse != "nothing" and self.old_dynamics is not None
        return on and updates % self.cfg.rehearsal.every == 0

    @property
    def dreams(self) -> bool:
        """Whether the generator is trained in this task."""
        when, old = self.cfg.method.train_vae, self.old_vae is not None
        return when != "never" and not (when == "first-task" and old)

    def live(self) -> dict[str, Any]:
        """Every tensor that an update reads or writes, as it is held here."""
        old = {}
        if self.old_dynamics is not None:
            old = {
                "old_dynamics": dict(self.old_dynamics.named_parameters()),
                "old_vae": dict(self.old_vae.named_parameters()),
            }
        return old | {
            "vae": dict(self.vae.named_parameters()),
            "anchors": self.consolidation.anchors,
            "fisher": self.consolidation.fisher,
            "stored": self.stored.storage,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything but the current generator, which belongs to the world model."""
        old = None
        if self.old_dynamics is not None:
            old = {"dynamics": self.old_dynamics.state_dict(), "vae": self.old_vae.state_dict()}
        return {
            "old": old,
            "vae_optimizer": self.vae_adam.state_dict(),
            "consolidation": self.consolidation.state_dict(),
            "stored": self.stored.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], dynamics: Dynamics) -> None:
        """Restores what `state_dict` returned; `dynamics` only lend their architecture."""
        if state["old"] is not None:
            self.freeze(dynamics)
            self.old_dynamics.load_state_dict(state["old"]["dynamics"])
            self.old_vae.load_state_dict(state["old"]["vae"])
        self.vae_adam.load_state_dict(state["vae_optimizer"])
        self.consolidation.load_state_dict(state["consolidation"], self.device)
        self.stored.load_state_dict(state["stored"])
