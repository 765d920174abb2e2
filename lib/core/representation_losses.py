"""Losses that shape a representation without drawing: prototypes, contrast, redundancy.

Pure functions in single precision: tensors in, tensors out, no configuration.

Letters: T records, B sequences, Z numbers of a latent, K prototypes, N samples, P numbers of a
projection.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Prototypes (DreamerPro, arXiv 2110.14565; SwAV, arXiv 2006.09882) ------------------------------


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Assigns samples to prototypes so that all prototypes are used about equally: (K, N).

    Q is exp(scores / epsilon), normalised over all entries; then rows are scaled to 1 / K and
    columns to 1 / N in turns, and the whole is multiplied by N. Columns sum to 1 exactly, rows to
    N / K approximately. Computed with logarithms, so that small epsilons do not overflow.

    Args:
        scores: (K, N) inner products. epsilon: smaller ones assign harder.
        iterations: pairs of scalings.

    Source: DreamerPro's code; Cuturi 2013, algorithm 1.
    """
    prototypes, samples = scores.shape
    log_q = scores.float() / epsilon
    log_q = log_q - log_q.logsumexp((0, 1))
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(1, keepdim=True) - math.log(prototypes)
        log_q = log_q - log_q.logsumexp(0, keepdim=True) - math.log(samples)
    return (log_q + math.log(samples)).exp()


def assignment_loss(log_probability: Tensor, target: Tensor) -> Tensor:
    """Averages the cross-entropy of predicted assignments with their targets: ().

    Args:
        log_probability, target: (K, N), a column for every sample.
    """
    return -(target * log_probability).sum(0).mean()


def swapped_assignment_loss(
    log_probability: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]
) -> Tensor:
    """Asks each of two views to predict the other one's assignment, half of each: ().

    Args:
        log_probability, target: (K, N) of both views.

    Source: SwAV, eq. 2.
    """
    crossed = zip(log_probability, reversed(target), strict=True)
    return 0.5 * torch.stack([assignment_loss(*pair) for pair in crossed]).sum()


def norm_penalty(projected: Tensor) -> Tensor:
    """Averages the squared distance of the length of projections (..., P) from 1: ()."""
    return (projected.float().norm(dim=-1) - 1).square().mean()


# Contrast (TPC, arXiv 2106.07156) ---------------------------------------------------------------


def normal_scores(query: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Returns log N(query_i; mean_j, std_j) for every pair of sequences at equal times: (T, B, B).

    As matrix products, -[q^2 (1 / s^2)' - 2 q (m / s^2)' + sum (m^2 / s^2 + 2 log s)] / 2 less a
    constant, so that nothing of size B x B x Z is made.

    Args:
        query, mean, std: (T, B, Z) each.
    """
    query, mean, std = (part.float() for part in (query, mean, std))
    precision = std.square().reciprocal()
    squares = query.square() @ precision.mT  # (T, B, B)
    crossed = query @ (mean * precision).mT
    own = (mean.square() * precision + 2 * std.log()).sum(-1).unsqueeze(-2)  # (T, 1, B)
    constant = query.shape[-1] * math.log(2 * math.pi)
    return -0.5 * (squares - 2 * crossed + own + constant)


def info_nce(query: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Returns how unlikely each query's own distribution is among all of its time: (T, B).

    -log of the softmax over j of log N(query_i; mean_j, std_j), at j = i; log B where nothing tells
    the sequences apart.

    Source: TPC, eq. 3; the candidates are the distributions, as in its code.
    """
    scores = normal_scores(query, mean, std)
    return scores.logsumexp(-1) - scores.diagonal(dim1=-2, dim2=-1)


# Redundancy (Barlow Twins, arXiv 2103.03230) ----------------------------------------------------


def redundancy_loss(one: Tensor, other: Tensor, weight: float, eps: float = 1e-8) -> Tensor:
    """Asks two descriptions of N samples to agree number by number, and to repeat nothing: ().

    With C the correlation of every number of one with every number of the other over the samples:
    sum_i (1 - C_ii)^2 + weight * sum_{i != j} C_ij^2.

    Args:
        one, other: (N, P).

    Source: Barlow Twins, eq. 1 and 2.
    """
    one, other = (
        (part - part.mean(0)) / (part.std(0, correction=0) + eps)
        for part in (one.float(), other.float())
    )
    correlation = one.T @ other / len(one)  # (P, P)
    own = correlation.diagonal()
    apart = correlation.square().sum() - own.square().sum()
    return (1 - own).square().sum() + weight * apart


# Pictures ---------------------------------------------------------------------------------------


def shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Shifts pictures by parts of a pixel, bilinear, with the edges repeated: (N, C, H, W).

    Args:
        images: (N, C, H, W). shift: (N, 2) pixels along width and height by which what is shown at
            a place lies further right and down in the picture given.

    Source: DreamerPro's augmentation; DrQ (arXiv 2004.13649).
    """
    count, _, height, width = images.shape
    sizes = torch.tensor([width, height], dtype=images.dtype, device=images.device)
    rows = (torch.arange(height, device=images.device, dtype=images.dtype) + 0.5) * 2 / height - 1
    columns = (torch.arange(width, device=images.device, dtype=images.dtype) + 0.5) * 2 / width - 1
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)  # (H, W, 2) in [-1, 1]
    grid = grid + (shift * 2 / sizes).view(count, 1, 1, 2)
    return F.grid_sample(images, grid, "bilinear", "border", align_corners=False)
