"""(IA)³: vectors that multiply keys, values, activations and embedded tokens, one set per task."""

from torch import nn

from lib.algos.decision_transformer.modulators.api import Adapter, Context
from lib.algos.decision_transformer.modulators.per_task import PerTask
from lib.algos.decision_transformer.rows import Pick
from lib.algos.decision_transformer.vectors import VectorChange, Vectors


class Ia3(PerTask):
    """Trains vectors that begin as ones."""

    acts = "multiplies keys, values, the perceptron's activation and the four kinds of tokens"

    def fresh(self, context: Context) -> nn.Module:
        return Vectors(context.model)

    def change(self, pick: Pick, learning: bool) -> Adapter:
        return VectorChange(pick)


MODULATOR = Ia3
