"""Elastic weight consolidation: full tuning that holds the weights which mattered."""

from dataclasses import dataclass

from torch import Tensor

from lib.algos.decision_transformer.anchors import Anchored, fisher
from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators.api import Data
from lib.core.config import at_least


@dataclass(frozen=True)
class Settings:
    """Elastic weight consolidation. Source: L2M's release."""

    strength: float = at_least(0, 400.0)  # lambda
    batches: int = at_least(1, 10)  # whose squared gradients are averaged
    batch: int = at_least(1, 256)  # windows of each


class Ewc(Anchored):
    """Weighs every weight by the Fisher information of the task just learnt."""

    Settings = Settings
    acts = "everywhere, held by the Fisher information"

    def importance(self, model: DecisionTransformer, data: Data) -> dict[str, Tensor]:
        return fisher(model, data, self.settings.batches, self.settings.batch)


MODULATOR = Ewc
