"""Learning to modulate: a pool of low-rank sets, chosen by how near their keys are to a query.

Shapes: M sets, B windows, D width.

Source: Schmied et al. 2023 (L2M) and its release. Differs: sets and keys are tensors of their own,
so that one which no window chose stays where it is; in one tensor, as published, Adam goes on
moving it along what it last learnt.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.decision_transformer.low_rank import LowRank, LowRankConfig, adapter_by_row
from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators.api import Adapted, Adapter, Context, Modulator, own
from lib.core.config import at_least

RARE = 1e-6  # added to how often a set was chosen; source: the release


@dataclass(frozen=True)
class Settings(LowRankConfig):
    """Learning to modulate."""

    pool: int = at_least(1, 30)  # M, low-rank sets
    pull: float = at_least(0, 0.5)  # weight of drawing chosen keys towards their queries
    count_penalty: bool = True  # from the second task on, seldom chosen sets are nearer


class L2m(Modulator):
    """Trains those sets of the pool that windows choose, and their keys."""

    Settings = Settings
    keeps_base = True

    def __init__(self, settings: Settings, context: Context):
        super().__init__(settings, context)
        cfg, generator = context.model, context.generator
        self.pool = nn.ModuleList(
            LowRank(settings, cfg, generator, pooled=True) for _ in range(settings.pool)
        )
        self.keys = nn.ParameterList(
            nn.Parameter(torch.empty(cfg.width).uniform_(-1, 1, generator=generator))
            for _ in range(settings.pool)
        )
        self.register_buffer("share", torch.zeros(settings.pool))  # of windows, all updates so far
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("weight", torch.full((settings.pool,), 1 / settings.pool))

    def trained(self, model: DecisionTransformer) -> dict[str, nn.Parameter]:
        return own(self)

    def begin_task(self, index: int) -> None:
        """Weighs sets anew, which is done nowhere else: seldom chosen ones count more."""
        super().begin_task(index)
        rare = 1 / (self.share + RARE)
        self.weight.copy_(rare / rare.sum())

    @torch.no_grad()
    def choose(self, query: Tensor, learning: bool) -> Tensor:
        """Returns the index (B,) of the set that each query (B, D) is nearest to."""
        score = F.cosine_similarity(query.float().unsqueeze(1), torch.stack(list(self.keys)), dim=2)
        if learning and self.task > 0 and self.settings.count_penalty:
            score = (score + 1) / 2 * self.weight
        return score.argmax(1)

    def adapt(self, query: Tensor) -> Adapted:
        index = self.choose(query, learning=True)
        self._count(index)
        used, row = index.unique(return_inverse=True)
        keys = torch.stack([self.keys[int(i)] for i in used])[row]  # (B, D)
        near = F.cosine_similarity(query.float(), keys, dim=1).mean()
        return Adapted(self._adapter(index), {"match": -self.settings.pull * near})

    @torch.no_grad()
    def _count(self, index: Tensor) -> None:
        """Takes a batch into the mean share of windows that chose each set."""
        here = torch.bincount(index, minlength=len(self.pool)) / len(index)
        self.batches += 1
        self.share += (here - self.share) / self.batches

    def _adapter(self, index: Tensor) -> Adapter:
        return adapter_by_row([s.tensors() for s in self.pool], index, self.settings.scale)

    def acting(self, query: Tensor, module: Tensor) -> Adapter | None:
        return self._adapter(self.choose(query, learning=False))


MODULATOR = L2m
