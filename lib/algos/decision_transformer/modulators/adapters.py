"""Bottleneck adapters: a small perceptron after attention and after the perceptron of every block.

Source: Houlsby et al. 2019, sizes and initial weights as in L2M's release (ml-jku/L2M). Differs:
the second one is added to what it reads; the release adds it to what the first one read, and leaves
out what the perceptron made.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.decision_transformer.modulators.api import Adapter, Context
from lib.algos.decision_transformer.modulators.per_task import PerTask
from lib.algos.decision_transformer.rows import Pick
from lib.algos.decision_transformer.transformer import STD
from lib.core.config import at_least

PLACES = ("attention", "perceptron")


@dataclass(frozen=True)
class Settings:
    """A small perceptron."""

    reduction: int = at_least(1, 16)  # the width over that of its middle


class Bottleneck(nn.Module):
    """The weights of all layers: down to the middle, and up again."""

    def __init__(self, middle: int, context: Context):
        super().__init__()
        layers, width, draws = context.model.layers, context.model.width, context.generator
        for place in PLACES:
            for part, (inputs, outputs) in {"down": (width, middle), "up": (middle, width)}.items():
                weight = torch.empty(layers, inputs, outputs).normal_(0, STD, generator=draws)
                self.register_parameter(f"{place}_{part}", nn.Parameter(weight))
                bias = torch.zeros(layers, 1, outputs)
                self.register_parameter(f"{place}_{part}_bias", nn.Parameter(bias))

    def tensors(self) -> dict[str, Tensor]:
        """Returns the weights by name, each (L, ., .)."""
        return dict(self.named_parameters())


class BottleneckChange(Adapter):
    """Adds what small perceptrons make of what a branch is about to add."""

    def __init__(self, pick: Pick):
        self.pick = pick

    def change(self, place: str, layer: int, read: Tensor, out: Tensor) -> Tensor:
        return out + self._small(place, layer, out) if place in PLACES else out

    def _small(self, place: str, layer: int, x: Tensor) -> Tensor:
        for part in ("down", "up"):
            bias = self.pick(f"{place}_{part}_bias", layer)
            x = x @ self.pick(f"{place}_{part}", layer) + bias
            x = F.silu(x) if part == "down" else x
        return x


class Adapters(PerTask):
    """Trains small perceptrons."""

    Settings = Settings
    begins_unchanged = False  # small random weights, as published
    acts = "added to what attention adds, and to what the perceptron adds"

    def fresh(self, context: Context) -> nn.Module:
        return Bottleneck(max(1, context.model.width // self.settings.reduction), context)

    def change(self, pick: Pick, learning: bool) -> Adapter:
        return BottleneckChange(pick)


MODULATOR = Adapters
