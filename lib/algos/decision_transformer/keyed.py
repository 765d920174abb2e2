"""A pool whose members have keys: a window is read with those whose keys are nearest to its query.

Shapes: M members of the pool, W members that a window has, B windows, D width.

Source: Wang et al. 2022 (learning to prompt), Schmied et al. 2023 (L2M) and its release, with its
three measures of nearness. Differs: members and keys are tensors of their own, so that one which no
window chose stays where it is; in one tensor, as published, Adam goes on moving it along what it
last learnt.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators.api import Adapted, Adapter, Context, Modulator, own
from lib.algos.decision_transformer.rows import Pick, of_each
from lib.core.config import at_least, one_of

RARE = 1e-6  # added to how often a member was chosen; source: the release


@dataclass(frozen=True)
class KeyedConfig:
    """How members of a pool are chosen."""

    pool: int = at_least(1, 30)  # M
    top: int = at_least(1, 1)  # W
    pull: float = at_least(0, 0.5)  # weight of drawing chosen keys towards their queries
    count_penalty: bool = True  # from the second task on, seldom chosen members are nearer
    metric: str = one_of("cosine", "euclidean", "manhattan")
    # What a window is known by: a mean over its states, of embedded tokens, or of what the model
    # alone makes of them in its first or last layer.
    query: str = one_of("embedding", "first", "last")
    oracle: bool = False  # told the task, and every task has as many members for itself


class Keyed(Modulator):
    """Trains those members of a pool that windows choose, and their keys."""

    settings: KeyedConfig
    keeps_base = True
    chooses = True

    def __init__(self, settings: Any, context: Context):
        super().__init__(settings, context)
        count, width, draws = settings.pool, context.model.width, context.generator
        self.labelled, self.query = settings.oracle, settings.query
        self.pool = nn.ModuleList(self.fresh(context) for _ in range(count))
        self.keys = nn.ParameterList(
            nn.Parameter(torch.empty(width).uniform_(-1, 1, generator=draws)) for _ in range(count)
        )
        self.register_buffer("share", torch.zeros(count))  # of choices, all updates so far
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("weight", torch.full((count,), 1 / count))

    def fresh(self, context: Context) -> nn.Module:
        """Returns a new member, whose `tensors` are names to (L, ., .)."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a member is")

    def change(self, pick: Pick, learning: bool) -> Adapter:
        """Returns what the tensors that are picked change."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a member changes")

    def trained(self, model: DecisionTransformer) -> dict[str, nn.Parameter]:
        return own(self)

    def begin_task(self, index: int) -> None:
        """Weighs members anew, which is done nowhere else: seldom chosen ones count more."""
        super().begin_task(index)
        rare = 1 / (self.share + RARE)
        self.weight.copy_(rare / rare.sum())

    @torch.no_grad()
    def choose(self, query: Tensor, learning: bool, task: Tensor | None = None) -> Tensor:
        """Returns indices (B, W) of the members that each query (B, D) is nearest to.

        Args:
            task: (B,) which each is of; read where the task is told.
        """
        score = nearness(query.float(), torch.stack(list(self.keys)), self.settings.metric)
        if learning and self.task > 0 and self.settings.count_penalty:
            score = penalised(score, self.weight, self.settings.metric)
        if self.settings.oracle and task is not None:
            each = len(self.pool) // self.context.tasks
            owner = torch.arange(len(self.pool), device=score.device) // each  # (M,)
            score = score.masked_fill(owner != task.unsqueeze(1), -torch.inf)
        return score.topk(self.settings.top, dim=1).indices

    def adapt(self, query: Tensor) -> Adapted:
        here = torch.full((len(query),), self.task, device=query.device)
        index = self.choose(query, learning=True, task=here)
        self._count(index)
        used, place = index.unique(return_inverse=True)
        keys = torch.stack([self.keys[int(i)] for i in used])[place]  # (B, W, D)
        near = matched(query.float(), keys, self.settings.metric)
        return Adapted(self._read(index, learning=True), {"match": -self.settings.pull * near})

    @torch.no_grad()
    def _count(self, index: Tensor) -> None:
        """Takes a batch into the mean share of choices that fell on each member."""
        here = torch.bincount(index.flatten(), minlength=len(self.pool)) / index.numel()
        self.batches += 1
        self.share += (here - self.share) / self.batches

    def _read(self, index: Tensor, learning: bool) -> Adapter:
        index = index[:, 0] if self.settings.top == 1 else index
        return self.change(of_each([s.tensors() for s in self.pool], index), learning)

    def acting(self, query: Tensor, module: Tensor) -> Adapter | None:
        return self._read(self.members(query, module), learning=False)

    def members(self, query: Tensor, module: Tensor) -> Tensor:
        return self.choose(query, learning=False, task=module)


def nearness(query: Tensor, keys: Tensor, metric: str) -> Tensor:
    """Returns how near queries (B, D) are to keys (M, D), (B, M): a cosine, or minus a distance."""
    if metric == "cosine":
        return F.cosine_similarity(query.unsqueeze(1), keys, dim=2)
    return -torch.cdist(query, keys, p={"euclidean": 2.0, "manhattan": 1.0}[metric])


def penalised(score: Tensor, weight: Tensor, metric: str) -> Tensor:
    """Returns scores (B, M) that favour seldom chosen members.

    Args:
        weight: (M,) large for these, adding up to 1.

    Source: L2M's release. A distance is shortened by the weight's share of it.
    """
    return (score + 1) / 2 * weight if metric == "cosine" else score * (1 - weight)


def matched(query: Tensor, keys: Tensor, metric: str) -> Tensor:
    """Returns how near queries (B, D) are to the keys (B, W, D) that they chose, ().

    Cosines are added up over the W keys, distances averaged, Manhattan's over numbers as well.

    Source: L2M's release.
    """
    query = query.unsqueeze(1)
    if metric == "cosine":
        return F.cosine_similarity(query, keys, dim=2).sum(1).mean()
    apart = query - keys
    return -(apart.norm(dim=2) if metric == "euclidean" else apart.abs()).mean()
