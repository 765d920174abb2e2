"""Random actions: one-hot and bounded continuous samples that let gradients through.

Everything here is a function of its arguments: whoever calls brings the random numbers.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def one_hot(index: Tensor, size: int) -> Tensor:
    """(...) integers to (..., size) float32, without the host check of `functional.one_hot`."""
    return (index[..., None] == torch.arange(size, device=index.device)).float()


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform draws, elementwise."""
    return -torch.log(-torch.log(uniform.clamp(1e-7, 1 - 1e-7)))


def one_hot_sample(logits: Tensor, uniform: Tensor) -> Tensor:
    """A one-hot sample whose gradient is that of the Gumbel-softmax at temperature 1.

    Args:
        logits: (..., A).
        uniform: (..., A) draws from [0, 1), which decide the sample.

    Returns:
        (..., A), exactly one-hot. Source: Jang et al. 2017, straight-through estimator.
    """
    soft = F.softmax(logits + gumbel(uniform), dim=-1)
    hard = one_hot(soft.argmax(-1), logits.shape[-1])
    return hard + (soft - soft.detach())  # the bracket is exactly zero, so the sum stays one-hot


def categorical_index(probs: Tensor, uniform: Tensor) -> Tensor:
    """Indices drawn by inverting the cumulative distribution: cheaper than Gumbel noise.

    Args:
        probs: (..., A), non-negative; normalised here.
        uniform: draws from [0, 1), of a shape to which `probs.shape[:-1]` broadcasts.

    Returns:
        As many as draws, int64 in 0..A-1.
    """
    cumulative = probs.cumsum(-1)
    threshold = uniform * cumulative[..., -1]
    inner = cumulative[..., :-1]  # the last bound is never needed, so rounding cannot overshoot
    return (threshold.unsqueeze(-1) >= inner).sum(-1)


def bounded_sample(mean: Tensor, std: float, normal: Tensor) -> Tensor:
    """mean + N(0, std^2) clipped to +-0.3, kept inside (-1, 1) with a straight-through gradient.

    Args:
        mean: (..., A) in (-1, 1). normal: (..., A) standard normal draws.

    Source: TD-MPC, `TruncatedNormal` with clip 0.3.
    """
    action = mean + (normal * std).clamp(-0.3, 0.3)
    return action + (action.clamp(-1 + 1e-6, 1 - 1e-6) - action).detach()
