"""Learning to prompt: a pool of short prompts, of which every window has the nearest few.

Source: Wang et al. 2022 (L2P), as a baseline of L2M and in its release.
"""

from dataclasses import dataclass

from torch import nn

from lib.algos.decision_transformer.keyed import Keyed, KeyedConfig
from lib.algos.decision_transformer.modulators.api import Adapter, Context
from lib.algos.decision_transformer.prompts import WHERE, PromptChange, PromptConfig, Prompts
from lib.algos.decision_transformer.rows import Pick
from lib.core.config import at_least, one_of


@dataclass(frozen=True)
class Settings(KeyedConfig, PromptConfig):
    """Learning to prompt."""

    kind: str = one_of("prompt", "prefix", "p_tuning")  # as what the vectors are read
    pool: int = at_least(1, 100)
    top: int = at_least(1, 5)
    length: int = at_least(1, 5)  # vectors of each member


class L2p(Keyed):
    """Trains prompts of a pool, which begin at random."""

    Settings = Settings
    begins_unchanged = False

    def __init__(self, settings: Settings, context: Context):
        super().__init__(settings, context)
        self.acts = WHERE[settings.kind]

    def fresh(self, context: Context) -> nn.Module:
        return Prompts(self.settings.kind, self.settings.length, context.model, context.generator)

    def change(self, pick: Pick, learning: bool) -> Adapter:
        front = self.settings.top * self.settings.length
        dropout = self.settings.dropout if learning else 0.0
        return PromptChange(pick, self.settings.kind, front, dropout)


MODULATOR = L2p
