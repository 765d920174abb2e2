"""Full tuning: the whole model learns every task, and forgets the ones before."""

from torch import nn

from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators.api import Modulator, of_model


class Full(Modulator):
    """Trains everything."""

    acts = "everywhere"

    def trained(self, model: DecisionTransformer) -> dict[str, nn.Parameter]:
        return of_model(model)


MODULATOR = Full
