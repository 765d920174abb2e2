"""Recurrent state-space models with a plain GRU cell, as Dreamer 1 and the original TPC have it.

r = s(A_r x + B_r h); u = s(A_u x + B_u h); n = tanh(A_n x + r B_n h); h' = (1 - u) n + u h, every
product with a bias. Nothing is normalised. Record by record, PyTorch computes the gradient: these
cells come without the hand-made pass of `scan`.

Source: DreamerV1 (arXiv 1912.01603), Keras' GRU, which equals `torch.nn.GRUCell`.

Letters: B sequences, D deterministic state, I hidden units.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.fast.embedded import EmbeddedRssm
from lib.algos.dreamer.networks import linear
from lib.algos.dreamer.rssm import Rssm, State
from lib.algos.dreamer.settings import LatentConfig


class GruCell(nn.Module):
    """Predicts h from what is new and from the h before."""

    def __init__(self, inputs: int, deter: int, generator: torch.Generator):
        super().__init__()
        self.of_input = linear(inputs, 3 * deter, generator)
        self.of_state = linear(deter, 3 * deter, generator)
        for part in self.of_state.weight.detach().chunk(3):  # each gate's by itself, as Keras
            nn.init.orthogonal_(part, generator=generator)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Returns the next h: (..., I) and (..., D) to (..., D)."""
        new, old = self.of_input(x).float().chunk(3, -1), self.of_state(h).float().chunk(3, -1)
        reset, update = (torch.sigmoid(a + b) for a, b in zip(new[:2], old[:2], strict=True))
        candidate = torch.tanh(new[2] + reset * old[2])
        return torch.lerp(candidate, h, update)


class _WithGru(Rssm):
    """Replaces the normalised cell."""

    def __init__(
        self, action_size: int, embed_size: int, cfg: LatentConfig, generator: torch.Generator
    ):
        super().__init__(action_size, embed_size, cfg, generator)
        self.cell = GruCell(cfg.hidden, cfg.deter, generator)
        del self.cell_norm

    def recur(self, state: State, action: Tensor) -> Tensor:
        """Returns the next h: (B, ·) and (B, A) to (B, D)."""
        x = F.elu(self.input_norm(self.input(torch.cat((state.z, action), -1))))
        return self.cell(x, state.h)

    infer, imagining = Rssm.infer, Rssm.imagining


class GruRssm(_WithGru):
    """An `Rssm` with a GRU."""


class EmbeddedGruRssm(_WithGru, EmbeddedRssm):
    """An `EmbeddedRssm` with a GRU."""
