"""What keeps earlier tasks alive in the dynamics, for every method: `MethodConfig` switches parts.

Dreams of a generator answered by a frozen model (DRAGO, pseudo-rehearsal), stored transitions
(stored replay, multitask), or anchors for the weights (EWC).

Shapes: B rows, L observation, A action.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from lib import optim
from lib.config import RunConfig
from lib.nn import parameter_bytes
from lib.replay.generative import Vae
from lib.replay.stored import TransitionMemory
from lib.seeding import Streams
from lib.tdmpc import update
from lib.tdmpc.consolidation import Consolidation
from lib.tdmpc.model import Dynamics

Transitions = tuple[Tensor, Tensor, Tensor]  # (N, L), (N, A), (N, L)


class Retention:
    """The memory beside the dynamics. `old_dynamics` is None until there is something to keep."""

    def __init__(
        self,
        cfg: RunConfig,
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
        self.consolidation = Consolidation(cfg.method.ewc)
        capacity = max(1, parameter_bytes(self.vae) // TransitionMemory.bytes_each(*self.split))
        if cfg.method.memory == "everything":
            capacity = None
        self.stored = TransitionMemory(capacity, obs_dim, action_dim, device)
        self.open_task()

    def open_task(self) -> None:
        """Starts the generator's optimiser afresh."""
        self.vae_optimizer = optim.adam(self.vae.parameters(), self.cfg.vae.lr)

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

    def penalty(self, dynamics: Dynamics) -> Tensor | None:
        """What consolidation adds to the dynamics' loss, or None."""
        return self.consolidation.penalty(dynamics)

    def rehearsal(self, dynamics: Dynamics) -> Tensor:
        """The loss on dreamt pairs answered by the old dynamics, or on stored transitions."""
        batch, match = self.cfg.rehearsal.dreams, self.cfg.rehearsal.match
        if self.cfg.method.rehearse == "stored":
            obs, action, target = self.stored.sample(batch, self.draws)
            return update.rehearsal_loss(dynamics, obs, action, target, "bounded")
        obs, action = self.dream(batch).split(self.split, -1)
        with torch.no_grad():
            target = self.old_dynamics.raw(obs, action)
            target = target if match == "raw" else self.old_dynamics.bound(target)
        return update.rehearsal_loss(dynamics, obs, action, target, match)

    def dream(self, n: int) -> Tensor:
        """(n, L+A) pairs of earlier tasks."""
        return self.old_vae.sample(n, self.draws)

    def train_vae(self, pairs: Tensor) -> dict[str, Tensor] | None:
        """Trains the generator on (B, L+A) pairs just drawn and on its own dreams of before.

        Returns:
            The parts of its loss, or None where the method does not train it now.
        """
        when, old = self.cfg.method.train_vae, self.old_vae is not None
        if when == "never" or (when == "first-task" and old):
            return None
        if old:
            pairs = torch.cat((pairs, self.dream(self.cfg.rehearsal.dreams)))
        beta, clip = self.cfg.vae.beta, self.cfg.learning.grad_clip
        return update.vae_step(self.vae, pairs, beta, clip, self.draws, self.vae_optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the current generator, which belongs to the world model."""
        old = None
        if self.old_dynamics is not None:
            old = {"dynamics": self.old_dynamics.state_dict(), "vae": self.old_vae.state_dict()}
        return {
            "old": old,
            "vae_optimizer": optim.state(self.vae_optimizer),
            "consolidation": self.consolidation.state_dict(),
            "stored": self.stored.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], dynamics: Dynamics) -> None:
        """Restores what `state_dict` returned; `dynamics` only lend their architecture."""
        if state["old"] is not None:
            self.freeze(dynamics)
            self.old_dynamics.load_state_dict(state["old"]["dynamics"])
            self.old_vae.load_state_dict(state["old"]["vae"])
        optim.load(self.vae_optimizer, state["vae_optimizer"])
        self.consolidation.load_state_dict(state["consolidation"], self.device)
        self.stored.load_state_dict(state["stored"])
