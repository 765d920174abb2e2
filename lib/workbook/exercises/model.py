"""Exercises world models and values: chapters 00 and 04."""

import torch
from torch import Generator

from lib.core import losses
from lib.workbook.exercise import Case, Exercise, Mistake
from lib.workbook.exercises.inputs import B, H, normal


def _score_cases(generator: Generator) -> list[Case]:
    edges = torch.tensor([1.0, 0.5, 1e-5, 0.0])  # an exact prediction must stay finite
    return [Case((normal(generator, H, B).square(),)), Case((edges,))]


def _windowed_sum_cases(generator: Generator) -> list[Case]:
    return [
        Case((normal(generator, H, B).abs(), 0.5)),
        Case((normal(generator, 1, B).abs(), 0.5)),  # one step only
        Case((torch.full((H, B), 1e4), 0.9)),  # beyond the cap
    ]


def _td_target_cases(generator: Generator) -> list[Case]:
    reward, next_q = normal(generator, H, B), normal(generator, 2, H, B)
    return [
        Case((reward, next_q, 0.99)),
        Case((reward, next_q, 0.0)),  # only the reward is left
        Case((torch.zeros(1, 1), torch.tensor([[[3.0]], [[-1.0]]]), 0.5)),
    ]


EXERCISES = (
    Exercise(
        losses.prediction_score,
        _score_cases,
        (
            Mistake(
                lambda error: -torch.log(error), "An exact prediction gives infinity: floor it."
            ),
            Mistake(
                lambda error: torch.log(error.clamp_min(losses.ERROR_FLOOR)),
                "The sign is turned round: a smaller error must score higher.",
            ),
        ),
    ),
    Exercise(
        losses.windowed_sum,
        _windowed_sum_cases,
        (
            Mistake(
                lambda terms, rho: rho * losses.windowed_sum(terms, rho),
                "The weight is one step off: step 0 counts fully, as rho**0.",
            ),
            Mistake(
                lambda terms, rho: terms.sum(0).clamp_max(losses.STEP_SUM_CAP),
                "Later steps must count less: weigh step k by rho**k.",
            ),
            Mistake(
                lambda terms, rho: (losses.temporal_weights(len(terms), rho, terms) * terms).sum(0),
                "The sum is capped, so that one window cannot dominate the batch.",
            ),
        ),
    ),
    Exercise(
        losses.td_target,
        _td_target_cases,
        (
            Mistake(
                lambda reward, next_q, discount: (reward + discount * next_q.amax(0)).detach(),
                "It takes the larger of the two critics; the smaller one curbs overestimation.",
            ),
            Mistake(
                lambda reward, next_q, discount: reward + discount * next_q.amin(0),
                "The gradient is not stopped: a target is an answer, not something to train.",
            ),
            Mistake(
                lambda reward, next_q, discount: discount * (reward + next_q.amin(0)).detach(),
                "The discount is one step off: the reward itself is not discounted.",
            ),
        ),
    ),
)
