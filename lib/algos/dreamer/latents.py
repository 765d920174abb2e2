"""The stochastic part of the state is sampled from statistics that a layer gives.

Both kinds offer the same functions. Statistics are a layer's raw output, so that one matrix
product gives them; whatever is computed from them is computed in single precision.

Letters: V variables, C classes, Z numbers in a sample, P statistics.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.algos.dreamer.settings import LatentConfig
from lib.core.distributions import (
    categorical_entropy,
    categorical_kl,
    normal_entropy,
    normal_kl,
    one_hot,
    softmax,
    straight_through,
)
from lib.core.noise import NoiseSpec


@dataclass(frozen=True)
class Categorical:
    """V one-hot variables of C classes, with the straight-through gradient.

    Source: DreamerV2, section 2.
    """

    variables: int  # V
    classes: int  # C

    @property
    def size(self) -> int:
        """Z = V * C."""
        return self.variables * self.classes

    @property
    def parameters(self) -> int:
        """P = V * C logits."""
        return self.variables * self.classes

    def noise(self, *lead: int) -> NoiseSpec:
        """Declares what `sample` needs for statistics (*lead, P)."""
        return NoiseSpec("uniform", (*lead, self.variables))

    def logits(self, stats: Tensor) -> Tensor:
        """(..., P) to (..., V, C)."""
        return stats.float().unflatten(-1, (self.variables, self.classes))

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., P) and uniform draws (..., V) to (..., Z)."""
        return straight_through(softmax(self.logits(stats)), noise).flatten(-2)

    def slope(self, stats: Tensor, noise: Tensor) -> Tensor:
        """Returns what `pull` needs to know of samples: (..., V, C)."""
        return softmax(self.logits(stats))

    def pull(self, slope: Tensor, grad: Tensor) -> Tensor:
        """Returns the gradient of samples (..., Z) as one of their statistics (..., P)."""
        grad = grad.unflatten(-1, (self.variables, self.classes))
        return torch._softmax_backward_data(grad, slope, -1, slope.dtype).flatten(-2)

    def mode(self, stats: Tensor) -> Tensor:
        """Returns the most likely sample: (..., P) to (..., Z)."""
        return one_hot(self.logits(stats).argmax(-1), self.classes).flatten(-2)

    def kl(self, q: Tensor, p: Tensor) -> Tensor:
        """Returns KL(q || p) summed over the variables: (..., P) and (..., P) to (...)."""
        return categorical_kl(self.logits(q), self.logits(p)).sum(-1)

    def entropy(self, stats: Tensor) -> Tensor:
        """Summed over the variables: (..., P) to (...)."""
        return categorical_entropy(self.logits(stats)).sum(-1)


@dataclass(frozen=True)
class Gaussian:
    """V independent normal variables, std = 2 sigmoid(raw / 2) or softplus(raw), + min_std.

    Source: DreamerV2's code, whose standard deviation is bounded, and DreamerV1 (softplus).
    """

    variables: int  # V
    min_std: float
    std: str = "sigmoid"

    @property
    def size(self) -> int:
        """Z = V."""
        return self.variables

    @property
    def parameters(self) -> int:
        """P = 2 V, the means and the raw standard deviations."""
        return 2 * self.variables

    def noise(self, *lead: int) -> NoiseSpec:
        """Declares what `sample` needs for statistics (*lead, P)."""
        return NoiseSpec("normal", (*lead, self.variables))

    def moments(self, stats: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation, each (..., V)."""
        mean, raw = stats.float().chunk(2, -1)
        spread = F.softplus(raw) if self.std == "softplus" else 2 * torch.sigmoid(raw / 2)
        return mean, spread + self.min_std

    def with_mean(self, mean: Tensor, stats: Tensor) -> Tensor:
        """Returns statistics (..., P) of that mean (..., V) with the spread of others, detached."""
        return torch.cat((mean.float(), stats.float().chunk(2, -1)[1].detach()), -1)

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., P) and normal draws (..., V) to (..., Z)."""
        mean, std = self.moments(stats)
        return mean + std * noise

    def slope(self, stats: Tensor, noise: Tensor) -> Tensor:
        """Returns what `pull` needs to know of samples: (..., V)."""
        raw = stats.float().chunk(2, -1)[1]
        if self.std == "softplus":
            return noise * torch.sigmoid(raw)
        half = torch.sigmoid(raw / 2)
        return noise * half * (1 - half)

    def pull(self, slope: Tensor, grad: Tensor) -> Tensor:
        """Returns the gradient of samples (..., Z) as one of their statistics (..., P)."""
        return torch.cat((grad, grad * slope), -1)

    def mode(self, stats: Tensor) -> Tensor:
        """Returns the most likely sample: (..., P) to (..., Z)."""
        return self.moments(stats)[0]

    def kl(self, q: Tensor, p: Tensor) -> Tensor:
        """Returns KL(q || p) summed over the variables: (..., P) and (..., P) to (...)."""
        return normal_kl(*self.moments(q), *self.moments(p)).sum(-1)

    def entropy(self, stats: Tensor) -> Tensor:
        """Summed over the variables: (..., P) to (...)."""
        return normal_entropy(self.moments(stats)[1]).sum(-1)


Latent = Categorical | Gaussian


def build_latent(cfg: LatentConfig) -> Latent:
    """Returns the kind that the settings name."""
    if cfg.kind == "categorical":
        return Categorical(cfg.variables, cfg.classes)
    return Gaussian(cfg.variables, cfg.min_std, cfg.std)
