"""The action head alone learns; all tasks share it."""

from torch import nn

from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators.api import Modulator, of_model


class Head(Modulator):
    """Trains the last linear layer."""

    acts = "the last linear layer"

    def trained(self, model: DecisionTransformer) -> dict[str, nn.Parameter]:
        return of_model(model, model.head)


MODULATOR = Head
