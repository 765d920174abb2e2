"""Exercises objectives that draw nothing: chapter 08."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lib.core import representation_losses as losses
from lib.workbook.exercise import Case, Exercise, Mistake
from lib.workbook.exercises.inputs import B, H, normal

K, N, Z = 4, 7, 5  # prototypes, samples, numbers of a latent


def _sinkhorn_cases(generator: Generator) -> list[Case]:
    scores = normal(generator, K, N)
    return [
        Case((scores, 0.5, 3)),
        Case((scores, 0.1, 1)),
        Case((torch.zeros(K, N), 0.1, 2)),  # nothing to choose by: 1 / K everywhere
        Case((scores.clamp(-1, 1), 0.0125, 3)),  # exp(scores / epsilon) comes near overflowing
    ]


def _scaled(columns_last: bool, by_epsilon: bool, to_one: bool) -> Callable[..., Tensor]:
    """Returns the scalings with one mistake: their order, epsilon, or how samples are summed."""

    @torch.no_grad()
    def wrong(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
        prototypes, samples = scores.shape
        log_q = scores / epsilon if by_epsilon else scores * epsilon
        log_q = log_q - log_q.logsumexp((0, 1))
        rows, columns = (1, math.log(prototypes)), (0, math.log(samples))
        for _ in range(iterations):
            for axis, log in (rows, columns) if columns_last else (columns, rows):
                log_q = log_q - log_q.logsumexp(axis, keepdim=True) - log
        return (log_q + (math.log(samples) if to_one else 0.0)).exp()

    return wrong


@torch.no_grad()
def _softmax(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    return (scores / epsilon).softmax(0)


def _info_nce_cases(generator: Generator) -> list[Case]:
    query, mean = normal(generator, H, B, Z), normal(generator, H, B, Z)
    std = 0.3 + torch.rand(H, B, Z, generator=generator)
    same = mean[:, :1].repeat(1, B, 1)
    return [
        Case((query, mean, std)),
        Case((mean, mean, torch.full_like(mean, 0.2))),  # as the static term asks
        Case((query, same, torch.ones_like(std))),  # nothing tells sequences apart: ln B
        Case((query[:1], mean[:1], std[:1])),
    ]


def _over_queries(query: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    scores = losses.normal_scores(query, mean, std)
    return scores.logsumexp(-2) - scores.diagonal(dim1=-2, dim2=-1)


def _only_others(query: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    scores = losses.normal_scores(query, mean, std)
    own = torch.eye(scores.shape[-1], dtype=torch.bool)
    others = scores.masked_fill(own, -torch.inf).logsumexp(-1)
    return others - scores.diagonal(dim1=-2, dim2=-1)


EXERCISES = (
    Exercise(
        losses.sinkhorn,
        _sinkhorn_cases,
        (
            Mistake(
                _scaled(columns_last=False, by_epsilon=True, to_one=True),
                "Columns are scaled before rows: in the end it is the columns that sum to 1.",
            ),
            Mistake(
                _scaled(columns_last=True, by_epsilon=True, to_one=False),
                "Columns sum to 1 / N: multiply by N, so that each sample has an assignment of 1.",
            ),
            Mistake(
                _scaled(columns_last=True, by_epsilon=False, to_one=True),
                "Scores are divided by epsilon: smaller ones assign harder.",
            ),
            Mistake(
                _softmax,
                "This is a softmax over prototypes; rows are not scaled, so one may take all.",
            ),
        ),
    ),
    Exercise(
        losses.info_nce,
        _info_nce_cases,
        (
            Mistake(
                _over_queries,
                "The softmax runs over queries; the candidates are the distributions.",
            ),
            Mistake(
                _only_others,
                "The query's own distribution is a candidate too: it belongs into the sum.",
            ),
            Mistake(
                lambda query, mean, std: -losses.info_nce(query, mean, std),
                "The sign is turned round: it is to be small where the own distribution is likely.",
            ),
        ),
    ),
)
