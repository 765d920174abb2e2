"""What readers are asked to write themselves: inputs to compare on, and the usual mistakes.

The answer of every exercise is the library's own function, so no solution is kept twice.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from lib import losses
from lib.errors import unknown
from lib.teach import Case, Exercise, Mistake

H, B = 5, 3  # steps and windows of the random inputs


def _normal(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator)


def _score_cases(generator: Generator) -> list[Case]:
    edges = torch.tensor([1.0, 0.5, 1e-5, 0.0])  # an exact prediction must stay finite
    return [Case((_normal(generator, H, B).square(),)), Case((edges,))]


def _windowed_sum_cases(generator: Generator) -> list[Case]:
    return [
        Case((_normal(generator, H, B).abs(), 0.5)),
        Case((_normal(generator, 1, B).abs(), 0.5)),  # one step only
        Case((torch.full((H, B), 1e4), 0.9)),  # beyond the cap
    ]


def _td_target_cases(generator: Generator) -> list[Case]:
    reward, next_q = _normal(generator, H, B), _normal(generator, 2, H, B)
    return [
        Case((reward, next_q, 0.99)),
        Case((reward, next_q, 0.0)),  # only the reward is left
        Case((torch.zeros(1, 1), torch.tensor([[[3.0]], [[-1.0]]]), 0.5)),
    ]


def _review_cases(generator: Generator) -> list[Case]:
    old, now = (_normal(generator, H, B).exp() * 1e-3 for _ in range(2))
    known = torch.full((B,), 1e-6)
    return [
        Case((old, now, 7.0)),
        Case((old, now, 7.0), {"sharpness": 1.0, "cost": 0.25}),
        Case((known, known, 9.5)),
        Case((torch.zeros(B), torch.zeros(B), 9.5)),  # both models perfect
    ]


def _review_with_one_slope(
    old_error: Tensor,
    current_error: Tensor,
    threshold: float,
    *,
    sharpness: float = 4.0,
    **rest: Any,
) -> Tensor:
    cost = rest.get("cost", 0.5)
    old, now = losses.prediction_score(old_error), losses.prediction_score(current_error)
    steep = torch.sigmoid(sharpness * (now - threshold))
    return torch.sigmoid(sharpness * (old - threshold)) - cost * steep


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
    Exercise(
        losses.review_reward,
        _review_cases,
        (
            Mistake(
                _review_with_one_slope,
                "The slope belongs to the old model's term alone; the current one keeps slope 1.",
            ),
            Mistake(
                lambda old, now, threshold, **rest: losses.review_reward(
                    now, old, threshold, **rest
                ),
                "Old and current are exchanged: what the old model knew is rewarded.",
            ),
        ),
    ),
)


def exercise_for(reference: Callable[..., Any]) -> Exercise:
    """The exercise whose answer is this function.

    Raises:
        UserError: there is none.
    """
    for exercise in EXERCISES:
        if exercise.reference is reference:
            return exercise
    known = [exercise.reference.__name__ for exercise in EXERCISES]
    raise unknown("exercise", getattr(reference, "__name__", reference), known, "or pass `cases`")
