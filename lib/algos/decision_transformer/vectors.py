"""Vectors that multiply what a block computes, (IA)³: rescaled keys, values and activations.

Shapes: L layers, D width, N tokens of a step.

Source: Liu et al. 2022; on the tokens' embeddings as well in L2M's release, there before the shared
normalisation, here after it, so that what a window is known by stays as it is.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.algos.decision_transformer.rows import Pick
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.algos.decision_transformer.transformer import Adapter

PLACES = {"k": 1, "v": 1, "active": 4}  # to how many times D they are wide
KINDS = 4  # of tokens: state, return to go, action, reward


class Vectors(nn.Module):
    """One set: all 1, so no change yet."""

    def __init__(self, model: ModelConfig):
        super().__init__()
        for place, times in PLACES.items():
            ones = torch.ones(model.layers, 1, times * model.width)
            self.register_parameter(place, nn.Parameter(ones))
        self.embedding = nn.Parameter(torch.ones(1, KINDS, model.width))

    def tensors(self) -> dict[str, Tensor]:
        """Returns the vectors by name, each (L, ., .)."""
        return dict(self.named_parameters())


class VectorChange(Adapter):
    """Multiplies."""

    def __init__(self, pick: Pick):
        self.pick = pick

    def change(self, place: str, layer: int, read: Tensor, out: Tensor) -> Tensor:
        return out * self.pick(place, layer) if place in PLACES else out

    def embedded(self, tokens: Tensor, kinds: Sequence[int]) -> Tensor:
        each = self.pick("embedding", 0)[..., list(kinds), :]  # (N, D) or (B, N, D)
        return tokens * each.unsqueeze(-3)
