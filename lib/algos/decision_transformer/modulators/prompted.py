"""Learned vectors that are read before a window, one set per task; a kind says as what."""

from typing import ClassVar

from torch import nn

from lib.algos.decision_transformer.modulators.api import Adapter, Context
from lib.algos.decision_transformer.modulators.per_task import PerTask
from lib.algos.decision_transformer.prompts import PromptChange, PromptConfig, Prompts
from lib.algos.decision_transformer.rows import Pick


class Prompted(PerTask):
    """Trains vectors that begin at random."""

    settings: PromptConfig
    begins_unchanged = False
    kind: ClassVar[str]  # one of `lib.algos.decision_transformer.prompts.KINDS`

    def fresh(self, context: Context) -> nn.Module:
        return Prompts(self.kind, self.settings.length, context.model, context.generator)

    def change(self, pick: Pick, learning: bool) -> Adapter:
        dropout = self.settings.dropout if learning else 0.0
        return PromptChange(pick, self.kind, self.settings.length, dropout)
