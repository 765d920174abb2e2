"""Random actions: one-hot and bounded continuous samples that let gradients through.

Everything here is a function of its arguments: whoever calls brings the random numbers.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

SHORT = 32  # classes; shorter rows take PyTorch's softmax on a CPU a microsecond each


def softmax(logits: Tensor) -> Tensor:
    """Over the last axis."""
    return _across(F.softmax, logits)


def log_softmax(logits: Tensor) -> Tensor:
    """Over the last axis."""
    return _across(F.log_softmax, logits)


def _across(fn: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Applies fn over the last axis, across memory: 4 times as fast on a CPU if it is short."""
    if x.is_cuda or x.shape[-1] >= SHORT or x.dim() < 2:
        return fn(x, -1)
    return fn(x.transpose(-1, -2).contiguous(), -2).transpose(-1, -2)


def one_hot(index: Tensor, size: int) -> Tensor:
    """Turns (...) integers into (..., size) float32, without `functional.one_hot`'s host check."""
    return (index[..., None] == torch.arange(size, device=index.device)).float()


def gumbel(uniform: Tensor) -> Tensor:
    """Turns uniform draws into standard Gumbel noise, elementwise."""
    return -torch.log(-torch.log(uniform.clamp(1e-7, 1 - 1e-7)))


def one_hot_sample(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draws a one-hot sample whose gradient is that of the Gumbel-softmax at temperature 1.

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
    """Draws indices by inverting the cumulative distribution, which is cheaper than Gumbel noise.

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
    """Adds N(0, std^2) clipped to +-0.3, and stays in (-1, 1) with a straight-through gradient.

    Args:
        mean: (..., A) in (-1, 1). normal: (..., A) standard normal draws.

    Source: TD-MPC, `TruncatedNormal` with clip 0.3.
    """
    action = mean + (normal * std).clamp(-0.3, 0.3)
    return action + (action.clamp(-1 + 1e-6, 1 - 1e-6) - action).detach()


# Latents and policies of Dreamer ------------------------------------------------------------


def straight_through(probs: Tensor, uniform: Tensor) -> Tensor:
    """Draws one-hot samples of categoricals, whose gradient is that of their probabilities.

    Args:
        probs: (..., C), each row summing to 1.
        uniform: (...) draws from [0, 1), one per sample.

    Returns:
        (..., C), exactly one-hot. Source: DreamerV2, algorithm 1 (sample + p - sg(p)).
    """
    still = probs.detach()
    hard = one_hot(categorical_index(still, uniform), probs.shape[-1])
    return hard + (probs - still) if torch.is_grad_enabled() else hard  # the bracket is zero


def categorical_entropy(logits: Tensor) -> Tensor:
    """Computes the entropy of categoricals in nats: (..., C) to (...)."""
    log_probs = log_softmax(logits)
    return -(log_probs.exp() * log_probs).sum(-1)


def categorical_kl(q: Tensor, p: Tensor) -> Tensor:
    """Computes KL(q || p) of categoricals given by their logits, in nats: (..., C) to (...)."""
    log_q, log_p = log_softmax(q), log_softmax(p)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


def normal_kl(mean_q: Tensor, std_q: Tensor, mean_p: Tensor, std_p: Tensor) -> Tensor:
    """Computes KL(q || p) between normal distributions, elementwise, in nats."""
    ratio = std_q / std_p
    distance = (mean_q - mean_p) / std_p
    return 0.5 * (ratio.square() + distance.square() - 1) - torch.log(ratio)


def normal_log_prob(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Computes log N(x; mean, std), elementwise."""
    return -0.5 * ((x - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)


def normal_entropy(std: Tensor) -> Tensor:
    """Computes the entropy of normal distributions, elementwise, in nats."""
    return 0.5 * math.log(2 * math.pi * math.e) + torch.log(std)


def tanh_normal_log_prob(raw: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Computes the log-density of tanh(raw) with raw ~ N(mean, std^2), elementwise.

    log(1 - tanh(x)^2) is written as 2 (log 2 - x - softplus(-2x)), which stays finite.
    """
    normal = -0.5 * ((raw - mean) / std).square() - torch.log(std) - 0.5 * math.log(2 * math.pi)
    return normal - 2 * (math.log(2) - raw - F.softplus(-2 * raw))
