"""The last blocks of the transformer learn, and the normalisation after them; tasks share them."""

from dataclasses import dataclass

from torch import nn

from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators.api import Modulator, of_model
from lib.core.config import at_least


@dataclass(frozen=True)
class Settings:
    """How much of the body learns."""

    count: int = at_least(1, 1)  # blocks, counted from the last; more than there are: all


class LastLayers(Modulator):
    """Trains some blocks at the end."""

    Settings = Settings
    acts = "the last block and the last normalisation"

    def trained(self, model: DecisionTransformer) -> dict[str, nn.Parameter]:
        return of_model(model, *model.body.blocks[-self.settings.count :], model.body.norm)


MODULATOR = LastLayers
