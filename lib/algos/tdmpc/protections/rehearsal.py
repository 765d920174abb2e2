"""A generator dreams pairs of earlier tasks, and the frozen dynamics answer them: DRAGO's way.

The generator goes on from task to task: it learns from the pairs that the model learns from and,
once there is a past, from the dreams of its frozen predecessor.

Source: DRAGO, synthetic experience rehearsal, section 4.1.

Shapes: B rows, D dreams, L observation, A action.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.algos.tdmpc.protections.api import Context, Given, Own, Term
from lib.algos.tdmpc.protections.pairs import PairRehearsal, PairsConfig, rehearsal_loss
from lib.core import losses
from lib.core.config import one_of
from lib.core.noise import NoiseLayout, NoiseSpec
from lib.replay.generative import Vae

__all__ = ["PROTECTION", "Rehearsal", "Settings", "rehearsal_loss", "vae_loss"]


@dataclass(frozen=True)
class Settings(PairsConfig):
    """Rehearses dreams; `pairs` is also how many a step of the generator learns from."""

    train: str = one_of("never", "first-task", "always")  # when the generator learns; never: off
    match: str = one_of("raw", "bounded")  # compare before or after clip and tanh


def vae_loss(
    vae: Vae, pairs: Tensor, noise: Tensor, *, beta: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the generator's loss on (state, action) rows (B, L+A); noise (B, code), normal."""
    reconstruction, mean, log_var = vae(pairs, noise)
    return losses.vae_loss(pairs, reconstruction, mean, log_var, beta)


class Rehearsal(PairRehearsal):
    """Owns the generator, its frozen predecessor and the generator's optimiser."""

    Settings = Settings

    def __init__(self, settings: Settings, context: Context):
        super().__init__(settings, context)
        self.match, cfg = settings.match, context.vae
        sizes = (context.obs_dim + context.action_dim, cfg.width, cfg.code)
        vae = Vae(*sizes, context.streams.init).to(context.device)
        self.trained["vae"] = Own.fresh(vae, cfg.lr)

    @property
    def on(self) -> bool:
        return self.settings.train != "never"

    @property
    def vae(self) -> Vae:
        """Returns the generator."""
        return self.trained["vae"].network

    @property
    def learns(self) -> bool:
        """Tells whether the generator is trained in this task."""
        return self.settings.train == "always" or "old_vae" not in self.frozen

    def begin_task(self, past: bool) -> None:
        """Freezes the generator that later dreams come from, and starts its optimiser afresh."""
        if past:
            self.frozen["old_vae"] = copy.deepcopy(self.vae).requires_grad_(False)
        self.trained["vae"] = Own.fresh(self.vae, self.context.vae.lr)

    def noise(self, due: bool, rows: int) -> NoiseLayout:
        """Lists codes to encode and to dream with."""
        code, dreams, past = self.context.vae.code, self.settings.pairs, "old_vae" in self.frozen
        found = {}
        if self.learns:
            seen = rows + (dreams if past else 0)
            found["encoded"] = NoiseSpec("normal", (seen, code))
            if past:
                found["learnt"] = NoiseSpec("normal", (dreams, code))
        if due:
            found["rehearsed"] = NoiseSpec("normal", (dreams, code))
        return found

    def own_loss(self, given: Given) -> Term:
        """Returns the generator's loss on pairs just seen and on dreams of its predecessor."""
        pairs = given.pairs
        if "learnt" in given.noise:
            with torch.no_grad():
                dreams = given.networks["old_vae"].decoder(given.noise["learnt"])
            pairs = torch.cat((pairs, dreams))
        vae, noise = given.networks["vae"], given.noise["encoded"]
        value, parts = vae_loss(vae, pairs, noise, beta=self.context.vae.beta)
        return Term(value, {"vae": parts})

    def answered(self, given: Given) -> tuple[Tensor, Tensor, Tensor]:
        """Returns fresh dreams, and what the old dynamics say of them."""
        old, sizes = given.old_dynamics, (self.context.obs_dim, self.context.action_dim)
        pairs = given.networks["old_vae"].decoder(given.noise["rehearsed"])
        obs, action = pairs.split(sizes, -1)
        raw = old.raw(obs, action)
        return obs, action, raw if self.match == "raw" else old.bound(raw)

    def set_lr(self, scale: float) -> None:
        self.trained["vae"].adam.set_lr(scale * self.context.vae.lr)

    def generate(self, n: int, generator: torch.Generator) -> Tensor:
        """Returns dreams of the generator as it is now, (n, L+A)."""
        return self.vae.sample(n, generator)

    def lacks(self, theirs: Settings, path: Path) -> str | None:
        untrained = theirs.train == "never"
        told = f"rehearses dreams, but the generator in '{path}' was never trained"
        return told if untrained else None

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.trained["vae"].adam.state_dict(),
            "old_vae": self.frozen["old_vae"].state_dict() if self.frozen else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.trained["vae"].adam.load_state_dict(state["optimizer"])
        if state["old_vae"] is not None:
            self.frozen["old_vae"] = copy.deepcopy(self.vae).requires_grad_(False)
            self.frozen["old_vae"].load_state_dict(state["old_vae"])


PROTECTION = Rehearsal
