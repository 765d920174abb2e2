"""Which task is this? Mixtures of Gaussians over features, and a classifier drawn from them.

Shapes: B windows, F features, T tasks, K centroids of each.

Source: HiDe-Prompt (Wang et al. 2023) and HiDe-LoRA, whose statistics of features stand in for data
of earlier tasks.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FLOOR = 1e-4  # added to variances; source: HiDe-Prompt's release
ROUNDS = 20  # of k-means
RATE = 1e-3  # of the classifier's AdamW, to 0 along a cosine
ROWS = 256  # of a batch


class Mixture(NamedTuple):
    """Gaussians with diagonal covariance, of one task or, with a leading axis, of several."""

    mean: Tensor  # (K, F)
    variance: Tensor  # (K, F)
    weight: Tensor  # (K,) shares, which add up to 1


def fit(features: Tensor, centroids: int, generator: torch.Generator) -> Mixture:
    """Returns K Gaussians around the centroids of k-means.

    Args:
        features: (B, F), at least as many as centroids.
        generator: draws the first centroids, on the device of the features.
    """
    first = torch.randperm(len(features), generator=generator, device=features.device)[:centroids]
    mean = features[first].clone()
    for _ in range(ROUNDS):
        belongs = one_hot_to_nearest(features, mean)  # (B, K)
        count = belongs.sum(0)
        moved = belongs.T @ features / count.clamp_min(1).unsqueeze(1)
        mean = torch.where(count.unsqueeze(1) > 0, moved, mean)
    belongs = one_hot_to_nearest(features, mean)
    count = belongs.sum(0)
    square = belongs.T @ (features - belongs @ mean).square()
    return Mixture(mean, square / count.clamp_min(1).unsqueeze(1), count / len(features))


def one_hot_to_nearest(features: Tensor, mean: Tensor) -> Tensor:
    """Returns (B, K), 1 at the nearest centroid."""
    return F.one_hot(torch.cdist(features, mean).argmin(1), len(mean)).to(features.dtype)


def log_likelihood(features: Tensor, mixtures: Mixture) -> Tensor:
    """Returns log p(features | task), (B, T).

    Args:
        features: (B, F).
        mixtures: (T, K, F) and (T, K).
    """
    each = zip(*mixtures, strict=True)  # a task at a time, for memory
    return torch.stack([mixture_log_density(features, *one) for one in each], 1)


def mixture_log_density(features: Tensor, mean: Tensor, variance: Tensor, weight: Tensor) -> Tensor:
    """Returns the log density of a mixture of diagonal Gaussians, (B,).

    Args:
        features: (B, F). mean, variance: (K, F), to which `FLOOR` is added. weight: (K,) shares.
    """
    spread = variance + FLOOR
    away = ((features.unsqueeze(1) - mean).square() / spread).sum(-1)  # (B, K)
    size = spread.log().sum(-1) + math.log(2 * math.pi) * features.shape[1]
    return torch.logsumexp(weight.log() - 0.5 * (away + size), 1)


def draw(mixture: Mixture, each: int, generator: torch.Generator) -> Tensor:
    """Draws so many features around every centroid that anything belongs to, (K' each, F)."""
    there = mixture.weight > 0
    mean, spread = mixture.mean[there], (mixture.variance[there] + FLOOR).sqrt()
    noise = torch.randn(
        (len(mean), each, mean.shape[1]), generator=generator, device=generator.device
    )
    return (mean.unsqueeze(1) + spread.unsqueeze(1) * noise).flatten(0, 1)


@torch.enable_grad()
def refit(
    head: nn.Linear,
    drawn: Callable[[], tuple[Tensor, Tensor]],
    epochs: int,
    generator: torch.Generator,
) -> None:
    """Trains a classifier, in place, on samples that every epoch draws anew and uses up.

    Args:
        drawn: features (B, F) and classes (B,) of an epoch.
    """
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE)
    for epoch in range(epochs):
        features, label = drawn()
        order = torch.randperm(len(label), generator=generator, device=generator.device)
        batches = order.split(ROWS)
        for number, rows in enumerate(batches):
            done = (epoch + number / len(batches)) / epochs
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 + math.cos(math.pi * done)) / 2
            loss = F.cross_entropy(head(features[rows]), label[rows])
            head.weight.grad, head.bias.grad = torch.autograd.grad(loss, (head.weight, head.bias))
            optimizer.step()
    head.weight.grad = head.bias.grad = None


def contrast(features: Tensor, centroids: Tensor, temperature: float) -> Tensor:
    """Returns how little windows' features differ from each other and from earlier tasks', ().

    All are normalised to length 1. Otherwise the similarity of a feature with itself, near its
    number of entries, decides the softmax alone, and no gradient is left.

    Args:
        features: (B, F) of this task. centroids: (K, F) of earlier ones.

    Source: HiDe-Prompt, the contrastive regularisation; the lengths are ours.
    """
    h, mu = F.normalize(features, dim=1), F.normalize(centroids, dim=1)
    similar = torch.cat((h @ h.T, h @ mu.T), 1) / temperature  # (B, B + K)
    return (torch.logsumexp(similar, 1) - similar.diagonal()).mean()
