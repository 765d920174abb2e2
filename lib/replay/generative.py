"""A variational autoencoder of (state, action) pairs: memory without stored data.

Source: DRAGO, synthetic experience rehearsal.
"""

import torch
from torch import Tensor, nn

from lib.core.nn import framework_default_


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
        """(B, D) and (B, code) standard normal draws to reconstruction, mean and log variance."""
        mean, log_var = self.encoder(x).chunk(2, dim=-1)
        return self.decoder(mean + noise * torch.exp(0.5 * log_var)), mean, log_var

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) decoded from the standard normal prior, neither clipped nor made one-hot."""
        weight = self.decoder[0].weight
        code = torch.randn(
            n, self.code, generator=generator, device=weight.device, dtype=weight.dtype
        )
        return self.decoder(code)
