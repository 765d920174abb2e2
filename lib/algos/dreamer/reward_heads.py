"""Heads that predict rewards from states, by name. A new one is a row of `HEADS`.

Letters: F features, n heads of other runs.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.algos.dreamer.networks import Scalar, dense
from lib.algos.dreamer.run_settings import DreamerRun


class RewardHead(Scalar):
    """A reward from features alone: (..., F) to (...)."""

    def __init__(self, features: int, cfg: DreamerRun, generator: torch.Generator):
        network, norm = cfg.network, cfg.latent.norm
        super().__init__(features, network, norm, generator, network.reward_layers)


class MetaRewardHead(nn.Module):
    """A reward from what heads of other runs say of a state, and from the state: (..., F) to (...).

    r = W_2 ELU(W_1 [r_1(f), ..., r_n(f), f]). The other heads are `sources`; they never learn, and
    gradients pass through them into the state.

    Source: Sasso, Sabatelli and Wiering (arXiv 2205.14410), figure on meta-model transfer. Their
    released head computes the predictions and leaves them out: `meta.use_sources` false is a head
    of the same size that reads zeros.
    """

    def __init__(self, features: int, cfg: DreamerRun, generator: torch.Generator):
        super().__init__()
        network, norm, meta = cfg.network, cfg.latent.norm, cfg.meta
        self.use_sources = meta.use_sources
        self.sources = nn.ModuleList(RewardHead(features, cfg, generator) for _ in meta.rewards)
        inputs = len(meta.rewards) + features
        self.net = dense(inputs, network.head_width, meta.layers, 1, norm, generator)

    def forward(self, features: Tensor) -> Tensor:
        told = torch.stack([source(features) for source in self.sources], -1)  # (..., n)
        if not self.use_sources:
            told = torch.zeros_like(told)
        return self.net(torch.cat((told.to(features), features), -1)).squeeze(-1).float()


HEADS: dict[str, Callable[[int, DreamerRun, torch.Generator], nn.Module]] = {
    "plain": RewardHead,
    "meta": MetaRewardHead,
}


def build(features: int, cfg: DreamerRun, generator: torch.Generator) -> nn.Module:
    """Returns the head that a run asks for: the meta head where it names other runs' heads."""
    return HEADS["meta" if cfg.meta.rewards else "plain"](features, cfg, generator)
