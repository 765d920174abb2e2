"""Stored replay rehearses real transitions of earlier tasks, in as many bytes as a generator.

With room for everything it is what rehearsal could be at best.

Shapes: B transitions, L observation, A action.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lib.algos.tdmpc.model import Dynamics
from lib.algos.tdmpc.protections.api import Context, Given, Transitions
from lib.algos.tdmpc.protections.pairs import PairRehearsal, PairsConfig
from lib.core.config import one_of
from lib.core.noise import NoiseLayout, NoiseSpec
from lib.replay.generative import Vae
from lib.replay.stored import TransitionStore, draw_transitions

FLOAT_BYTES = 4  # of a number in single precision


@dataclass(frozen=True)
class Settings(PairsConfig):
    """Keeps a uniform sample of all earlier transitions."""

    # how much is kept; vae-bytes: what the parameters of the generator of dreams take; nothing: off
    capacity: str = one_of("nothing", "vae-bytes", "everything")


class StoredReplay(PairRehearsal):
    """Rehearses stored transitions, whose answers are what the world said."""

    Settings = Settings
    match = "bounded"  # they hold observations

    def __init__(self, settings: Settings, context: Context):
        super().__init__(settings, context)
        sizes = context.obs_dim, context.action_dim
        numbers = Vae.size(sum(sizes), context.vae.width, context.vae.code)
        room = max(1, FLOAT_BYTES * numbers // TransitionStore.bytes_each(*sizes))
        capacity = None if settings.capacity == "everything" else room
        self.stored = TransitionStore(capacity, *sizes, context.device)

    @property
    def on(self) -> bool:
        return self.settings.capacity != "nothing"

    def end_task(self, dynamics: Dynamics, transitions: Transitions) -> None:
        """Offers a finished task's transitions to the store."""
        self.stored.add(*transitions, self.context.streams.update)

    def due(self, step: int) -> bool:
        return len(self.stored) > 0 and super().due(step)

    def tensors(self) -> dict[str, Any]:
        return {"stored": self.stored.storage}

    def noise(self, due: bool, rows: int) -> NoiseLayout:
        """Lists which transitions are rehearsed."""
        return {"rehearsed": NoiseSpec("uniform", (self.settings.pairs,))} if due else {}

    def answered(self, given: Given) -> tuple[Tensor, Tensor, Tensor]:
        """Draws transitions uniformly, with replacement."""
        return draw_transitions(given.tensors["stored"], given.noise["rehearsed"])

    def state_dict(self) -> dict[str, Any]:
        return self.stored.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stored.load_state_dict(state)


PROTECTION = StoredReplay
