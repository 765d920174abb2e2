"""A variational autoencoder of (state, action) pairs, which replays without stored data.

Source: DRAGO, synthetic experience rehearsal.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.core.config import at_least
from lib.core.nn import framework_default_


@dataclass(frozen=True)
class VaeConfig:
    """Settings of the generator of (state, action) pairs."""

    code: int = at_least(1, 64)  # size of the latent code
    width: int = at_least(1, 64)
    beta: float = at_least(0, 1.0)  # weight of the KL term, averaged over the code
    lr: float = at_least(0, 1e-3)  # Adam


class Vae(nn.Module):
    """Encoder (D, E, E, 2 code) and decoder (code, E, E, D) with ELU and a linear output."""

    def __init__(self, inputs: int, width: int, code: int, generator: torch.Generator):
        super().__init__()
        self.code = code
        self.encoder = nn.Sequential(
            nn.Linear(inputs, width),
            nn.ELU(),
            nn.Linear(width, width),
            nn.ELU(),
            nn.Linear(width, 2 * code),
        )
        self.decoder = nn.Sequential(
            nn.Linear(code, width),
            nn.ELU(),
            nn.Linear(width, width),
            nn.ELU(),
            nn.Linear(width, inputs),
        )
        framework_default_(self, generator)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (B, D) and (B, code) normal draws to reconstruction, mean and log variance."""
        mean, log_var = self.encoder(x).chunk(2, dim=-1)
        return self.decoder(mean + noise * torch.exp(0.5 * log_var)), mean, log_var

    @staticmethod
    def size(inputs: int, width: int, code: int) -> int:
        """Counts the parameters of a generator of these sizes."""
        layers = [(inputs, width), (width, width), (width, 2 * code)]
        layers += [(code, width), (width, width), (width, inputs)]
        return sum((given + 1) * told for given, told in layers)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Decodes (n, D) from the standard normal prior, neither clipped nor made one-hot."""
        weight = self.decoder[0].weight
        code = torch.randn(
            n, self.code, generator=generator, device=weight.device, dtype=weight.dtype
        )
        return self.decoder(code)
