"""One low-rank set per task, chosen by a label that tells which task is acted: an oracle."""

from dataclasses import dataclass

from torch import Tensor, nn

from lib.algos.decision_transformer.low_rank import LowRank, LowRankConfig, adapter, adapter_by_row
from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators.api import Adapted, Adapter, Context, Modulator, own


@dataclass(frozen=True)
class Settings(LowRankConfig):
    """As of all low-rank changes."""


class Lora(Modulator):
    """Trains a fresh set in every task; the model and the sets before stay as they are."""

    Settings = Settings
    keeps_base = True
    labelled = True

    def __init__(self, settings: Settings, context: Context):
        super().__init__(settings, context)
        cfg, generator = context.model, context.generator
        self.sets = nn.ModuleList(
            LowRank(settings, cfg, generator, pooled=False) for _ in range(context.tasks)
        )

    def trained(self, model: DecisionTransformer) -> dict[str, nn.Parameter]:
        return own(self, self.sets[self.task])

    def adapt(self, query: Tensor) -> Adapted:
        return Adapted(adapter(self.sets[self.task].tensors(), self.settings.scale))

    def acting(self, query: Tensor, module: Tensor) -> Adapter | None:
        return adapter_by_row([s.tensors() for s in self.sets], module, self.settings.scale)


MODULATOR = Lora
