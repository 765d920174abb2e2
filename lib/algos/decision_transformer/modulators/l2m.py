"""Learning to modulate: a pool of low-rank sets, chosen by how near their keys are to a query.

Source: Schmied et al. 2023 (L2M) and its release; `lib.algos.decision_transformer.keyed` says what
differs.
"""

from dataclasses import dataclass

from torch import nn

from lib.algos.decision_transformer.keyed import Keyed, KeyedConfig
from lib.algos.decision_transformer.low_rank import LowRank, LowRankChange, LowRankConfig
from lib.algos.decision_transformer.modulators.api import Adapter, Context
from lib.algos.decision_transformer.rows import Pick


@dataclass(frozen=True)
class Settings(KeyedConfig, LowRankConfig):
    """Learning to modulate."""


class L2m(Keyed):
    """Trains low-rank sets of a pool."""

    Settings = Settings
    acts = "added to queries, values and the perceptron's first output"

    def fresh(self, context: Context) -> nn.Module:
        return LowRank(self.settings, context.model, context.generator, pooled=True)

    def change(self, pick: Pick, learning: bool) -> Adapter:
        return LowRankChange(pick, self.settings.scale)


MODULATOR = L2m
