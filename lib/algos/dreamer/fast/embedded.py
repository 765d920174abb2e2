"""A recurrent state-space model whose posterior knows the observation alone, as TPC's.

m_t = W_q ELU(N(W_e e_t)); z_t is drawn from N(m_t, s_t), s_t the prior's standard deviation without
a gradient. So the encoder can neither lean on what was predicted nor shrink its own noise.

Source: DreamerPro's re-implementation of TPC. Gaussian latents alone.

Letters: T records, B sequences, V variables, D deterministic state, E embedding, I hidden units.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.algos.dreamer.fast.rssm import FastRssm
from lib.algos.dreamer.fast.scan import advance
from lib.algos.dreamer.networks import linear
from lib.algos.dreamer.rssm import State, keep_of
from lib.algos.dreamer.settings import LatentConfig


class EmbeddedRssm(FastRssm):
    """An `Rssm` that infers z from the embedding, with the prior's spread."""

    def __init__(
        self, action_size: int, embed_size: int, cfg: LatentConfig, generator: torch.Generator
    ):
        super().__init__(action_size, embed_size, cfg, generator)
        self.posterior_hidden = linear(embed_size, cfg.hidden, generator)
        self.posterior_out = linear(cfg.hidden, self.latent.size, generator)

    def mean(self, embed: Tensor) -> Tensor:
        """Returns what an observation says of z: (..., E) to (..., V)."""
        hidden = F.elu(self.posterior_norm(self.posterior_hidden(embed)))
        return self.posterior_out(hidden).float()

    def posterior(self, h: Tensor, embed: Tensor) -> Tensor:
        """Returns the statistics of z with the observation: (..., D) and (..., E) to (..., P)."""
        return self.latent.with_mean(self.mean(embed), self.prior(h))

    def infer(
        self, embed: Tensor, action: Tensor, first: Tensor, noise: Tensor, state: State
    ) -> tuple[State, Tensor]:
        """Returns the posterior states (T, B, ·) and their statistics (T, B, P).

        Means come before as one product for all records; cell and spread run record by record.
        """
        keep, split, (z, h) = keep_of(first), self.split(), state
        mean, found = self.mean(embed), []
        from_action = F.linear(action * keep, split.of_action, self.input.bias)
        for each in zip(mean, from_action, keep, noise, strict=True):
            expected, moved, kept, drawn = each
            h, _ = advance(z * kept, h * kept, moved, split.scan)
            with torch.no_grad():
                prior = self.prior(h)
            stats = self.latent.with_mean(expected, prior)
            z = self.latent.sample(stats, drawn)
            found.append((z, h, stats))
        z, h, posterior = (torch.stack(part) for part in zip(*found, strict=True))
        return State(z, h), posterior

    def posterior_parts(self) -> tuple[Tensor, Tensor]:
        """Returns the hidden layer as it is: none of it reads h."""
        layer = self.posterior_hidden
        return layer.weight[:, :0], layer.weight
