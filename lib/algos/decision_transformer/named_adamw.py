"""AdamW over named parameters: what it remembers can be saved, and carried to other parameters."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Moments = dict[str, dict[str, Tensor]]
"""Parameters' names to step count and both moments."""


class NamedAdamW:
    """Steps the parameters that learn now.

    Args:
        named: all of them.
        shrinking: names of those that are decayed, where they are among these.
        decay: share times the rate that these lose in every step.
    """

    def __init__(self, named: Mapping[str, nn.Parameter], shrinking: set[str], decay: float):
        self.named = dict(named)
        parts = [[p for n, p in named.items() if (n in shrinking) == shrinks] for shrinks in (1, 0)]
        groups = [
            {"params": part, "weight_decay": share}
            for part, share in zip(parts, (decay, 0.0), strict=True)
            if part
        ]
        self.adamw = torch.optim.AdamW(groups)

    def clear(self) -> None:
        """Forgets gradients, so that a parameter without one in the next step stays as it is."""
        self.adamw.zero_grad(set_to_none=True)

    def step(self, rate: float, clip: float) -> Tensor:
        """Steps along gradients of a limited global norm; returns the norm before."""
        norm = nn.utils.clip_grad_norm_(self.named.values(), clip)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        return norm

    def moments(self) -> Moments:
        """Returns what is remembered of parameters that have stepped, uncopied."""
        held = self.adamw.state
        return {name: dict(held[p]) for name, p in self.named.items() if held.get(p)}

    def load_moments(self, moments: Moments) -> None:
        """Takes copies of what was remembered of parameters of the same names."""
        for name, p in self.named.items():
            if held := moments.get(name):
                copied = {slot: value.to(p.device, copy=True) for slot, value in held.items()}
                copied["step"] = held["step"].to("cpu", copy=True)  # where PyTorch counts
                self.adamw.state[p] = copied
