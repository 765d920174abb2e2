"""Full tuning that holds all weights alike where earlier tasks left them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.algos.decision_transformer.anchors import Anchored
from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators.api import Data
from lib.core.config import at_least


@dataclass(frozen=True)
class Settings:
    """Weights held alike. Source: L2M's release, EWC with a Fisher information of 1."""

    strength: float = at_least(0, 400.0)  # as EWC's lambda


class L2(Anchored):
    """Weighs every weight by 1."""

    Settings = Settings
    acts = "everywhere, all weights held alike"

    def importance(self, model: DecisionTransformer, data: Data) -> dict[str, Tensor]:
        return {name: torch.ones_like(p) for name, p in model.named_parameters()}


MODULATOR = L2
