"""LoRA: low-rank changes of queries, values and the perceptron, one set per task."""

from dataclasses import dataclass

from torch import nn

from lib.algos.decision_transformer.low_rank import LowRank, LowRankChange, LowRankConfig
from lib.algos.decision_transformer.modulators.api import Adapter, Context
from lib.algos.decision_transformer.modulators.per_task import PerTask
from lib.algos.decision_transformer.rows import Pick


@dataclass(frozen=True)
class Settings(LowRankConfig):
    """As of all low-rank changes."""


class Lora(PerTask):
    """Trains low-rank factors."""

    Settings = Settings
    acts = "added to queries, values and the perceptron's first output"

    def fresh(self, context: Context) -> nn.Module:
        return LowRank(self.settings, context.model, context.generator, pooled=False)

    def change(self, pick: Pick, learning: bool) -> Adapter:
        return LowRankChange(pick, self.settings.scale)


MODULATOR = Lora
