"""Learning to modulate with vectors, (IA)³, in place of low-rank sets.

Source: Schmied et al. 2023 (L2M) and its release. Differs: there such vectors leave embedded tokens
alone, here they multiply them as (IA)³'s do.
"""

from dataclasses import dataclass

from torch import nn

from lib.algos.decision_transformer.keyed import Keyed, KeyedConfig
from lib.algos.decision_transformer.modulators.api import Adapter, Context
from lib.algos.decision_transformer.rows import Pick
from lib.algos.decision_transformer.vectors import VectorChange, Vectors


@dataclass(frozen=True)
class Settings(KeyedConfig):
    """As of all pools with keys."""


class L2mIa3(Keyed):
    """Trains vectors of a pool, which begin as ones."""

    Settings = Settings
    acts = "multiplies keys, values, the perceptron's activation and the four kinds of tokens"

    def fresh(self, context: Context) -> nn.Module:
        return Vectors(context.model)

    def change(self, pick: Pick, learning: bool) -> Adapter:
        return VectorChange(pick)


MODULATOR = L2mIa3
