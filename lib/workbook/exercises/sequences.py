"""Exercises sequence models: chapter 09."""

import math

import torch
from torch import Generator, Tensor

from lib.algos.decision_transformer import inference, low_rank, tokens
from lib.workbook.exercise import Case, Exercise, Mistake
from lib.workbook.exercises.inputs import normal

CENTROIDS, FEATURES = 3, 5


def _return_cases(generator: Generator) -> list[Case]:
    return [
        Case((normal(generator, 2, 7), 1.0)),
        Case((normal(generator, 3, 4), 100.0)),
        Case((normal(generator, 1), 1.0)),  # an episode of one step
    ]


def _low_rank_cases(generator: Generator) -> list[Case]:
    def factors(rank: int) -> tuple[Tensor, Tensor]:
        return normal(generator, 7, rank), normal(generator, rank, 5)

    return [
        Case((normal(generator, 3, 7), *factors(2), 2.0)),
        Case((normal(generator, 2, 3, 7), *factors(1), 0.5)),
        Case((normal(generator, 3, 7), normal(generator, 7, 2), torch.zeros(2, 5), 2.0)),  # fresh
    ]


def _density_cases(generator: Generator) -> list[Case]:
    def mixture() -> tuple[Tensor, Tensor, Tensor]:
        mean, spread = (normal(generator, CENTROIDS, FEATURES) for _ in range(2))
        return mean, spread.exp(), normal(generator, CENTROIDS).softmax(0)

    certain = torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1)
    return [
        Case((normal(generator, 4, FEATURES), *mixture())),
        Case((normal(generator, 4, FEATURES), *mixture())),
        Case((torch.zeros(1, 1), *certain)),  # one Gaussian at its mean
    ]


def _density(
    features: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, norm=1.0, shares=1.0, half=0.5
) -> Tensor:
    """Returns the log density of a mixture, with parts left out or wrong."""
    spread = variance + inference.FLOOR
    away = ((features[:, None] - mean).square() / spread).sum(-1)  # (B, K)
    size = (spread.log() + math.log(2 * math.pi)).sum(-1)
    return torch.logsumexp(shares * weight.log() - half * away - 0.5 * norm * size, 1)


EXERCISES = (
    Exercise(
        tokens.returns_to_go,
        _return_cases,
        (
            Mistake(
                lambda reward, scale: reward.cumsum(-1) / scale,
                "This adds up what has been earned; wanted is what is still to come.",
            ),
            Mistake(
                lambda reward, scale: (reward.flip(-1).cumsum(-1).flip(-1) - reward) / scale,
                "A step's own reward belongs to its return to go.",
            ),
            Mistake(
                lambda reward, scale: reward.flip(-1).cumsum(-1) / scale,
                "Sums are right, but they stand in the wrong order: turn them back.",
            ),
            Mistake(
                lambda reward, scale: reward.flip(-1).cumsum(-1).flip(-1),
                "The scale is missing.",
            ),
        ),
    ),
    Exercise(
        low_rank.low_rank,
        _low_rank_cases,
        (
            Mistake(
                lambda x, first, second, scale: x @ first @ second,
                "The scale, alpha over the rank, is missing.",
            ),
            Mistake(
                lambda x, first, second, scale: scale**2 * (x @ first @ second),
                "Scale the product once, not each factor.",
            ),
            Mistake(
                lambda x, first, second, scale: scale * (x @ first).relu() @ second,
                "Nothing lies between the factors: that would be an adapter, no low-rank matrix.",
            ),
        ),
    ),
    Exercise(
        inference.mixture_log_density,
        _density_cases,
        (
            Mistake(
                lambda x, mean, variance, weight: _density(x, mean, variance, weight, norm=0.0),
                "The Gaussians' sizes are missing: a wide one is lower at its mean.",
            ),
            Mistake(
                lambda x, mean, variance, weight: _density(x, mean, variance, weight, shares=0.0),
                "Centroids have shares: the log of each one's belongs inside the sum.",
            ),
            Mistake(
                lambda x, mean, variance, weight: _density(x, mean, variance, weight, half=1.0),
                "Half the squared distance is what a Gaussian's exponent has.",
            ),
        ),
    ),
)
