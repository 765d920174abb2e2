"""Learned vectors that are read before a window: as tokens, as keys and values, or in every layer.

Shapes: L layers, P vectors, D width.

Source: Lester et al. 2021 (prompt), Li and Liang 2021 (prefix), Liu et al. 2022 (P-tuning v2);
sizes and initial numbers as in L2M's release, where making such vectors up by another perceptron is
an option that is not used, and is left out here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.decision_transformer.rows import Pick
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.algos.decision_transformer.transformer import Adapter
from lib.core.config import at_least, within

TOKENS, KEYS, VALUES = "tokens", "keys", "values"
KINDS = {
    # What each kind holds, and in how many layers; None: in all.
    "prompt": {TOKENS: 1},
    "prefix": {KEYS: None, VALUES: None},
    "p_tuning": {TOKENS: None},
}
WHERE = {  # in words, for tables
    "prompt": "tokens before the first layer",
    "prefix": "keys and values of every layer",
    "p_tuning": "tokens before every layer, others in each",
}


@dataclass(frozen=True)
class PromptConfig:
    """Learned vectors."""

    length: int = at_least(1, 25)  # P
    dropout: float = within(0, 0.99, 0.1)  # of their numbers, while they learn


class Prompts(nn.Module):
    """One set, with numbers drawn evenly from [-1, 1].

    Args:
        kind: one of `KINDS`.
    """

    def __init__(self, kind: str, length: int, model: ModelConfig, generator: torch.Generator):
        super().__init__()
        for name, layers in KINDS[kind].items():
            drawn = torch.empty(layers or model.layers, length, model.width)
            drawn.uniform_(-1, 1, generator=generator)
            self.register_parameter(name, nn.Parameter(drawn))

    def tensors(self) -> dict[str, Tensor]:
        """Returns the vectors by name, each (L, P, D), or (1, P, D) where they are tokens alone."""
        return dict(self.named_parameters())


class PromptChange(Adapter):
    """Puts vectors before the tokens of a window.

    Args:
        kind: one of `KINDS`.
        front: how many.
        dropout: of their numbers.
    """

    def __init__(self, pick: Pick, kind: str, front: int, dropout: float = 0.0):
        self.pick, self.held, self.front, self.dropout = pick, KINDS[kind], front, dropout

    def tokens(self, layer: int) -> Tensor | None:
        if TOKENS not in self.held:
            return None
        layers = self.held[TOKENS]
        return self._picked(TOKENS, layer) if layers is None or layer < layers else None

    def keys_values(self, layer: int) -> tuple[Tensor, Tensor] | None:
        if KEYS not in self.held:
            return None
        return self._picked(KEYS, layer), self._picked(VALUES, layer)

    def _picked(self, name: str, layer: int) -> Tensor:
        return F.dropout(self.pick(name, layer), self.dropout, self.dropout > 0)
