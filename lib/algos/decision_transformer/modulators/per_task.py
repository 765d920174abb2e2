"""One set of tensors per task, chosen by a label that tells which task is acted: an oracle.

A kind says what a set holds and what it changes, and is a file of its own.
"""

from typing import Any

from torch import Tensor, nn

from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators.api import Adapted, Adapter, Context, Modulator, own
from lib.algos.decision_transformer.rows import Pick, of_all, of_each


class PerTask(Modulator):
    """Trains a fresh set in every task; the model and the sets before stay as they are."""

    keeps_base = True
    labelled = True

    def __init__(self, settings: Any, context: Context):
        super().__init__(settings, context)
        self.sets = nn.ModuleList(self.fresh(context) for _ in range(context.tasks))

    def fresh(self, context: Context) -> nn.Module:
        """Returns a new set, whose `tensors` are names to (L, ., .)."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a set is")

    def change(self, pick: Pick, learning: bool) -> Adapter:
        """Returns what the tensors that are picked change."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a set changes")

    def trained(self, model: DecisionTransformer) -> dict[str, nn.Parameter]:
        return own(self, self.sets[self.task])

    def adapt(self, query: Tensor) -> Adapted:
        return Adapted(self.change(of_all(self.sets[self.task].tensors()), learning=True))

    def acting(self, query: Tensor, module: Tensor) -> Adapter | None:
        return self.change(of_each([s.tensors() for s in self.sets], module), learning=False)
