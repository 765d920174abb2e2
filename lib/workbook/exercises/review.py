"""Exercises the reviewer's reward: chapter 07."""

from typing import Any

import torch
from torch import Generator, Tensor

from lib.algos.tdmpc.counts import visit_bonus
from lib.algos.tdmpc.value import rated
from lib.core import losses
from lib.workbook.exercise import Case, Exercise, Mistake
from lib.workbook.exercises.inputs import B, H, normal


def _review_cases(generator: Generator) -> list[Case]:
    old, now = (normal(generator, H, B).exp() * 1e-3 for _ in range(2))
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


def planned_reward(reward: Tensor, visits: Tensor) -> Tensor:
    """Returns what a reviewer's plans count for rewards earned in states seen N times before."""
    return rated(reward, visits, visit_bonus)


def _planned_cases(generator: Generator) -> list[Case]:
    reward = normal(generator, H, B)
    visits = torch.randint(0, 9, (H, B), generator=generator).float()
    return [
        Case((reward, visits)),
        Case((reward, torch.zeros(H, B))),  # nothing was seen before
        Case((torch.tensor([1.0, 0.0, -0.5]), torch.full((3,), 400.0))),
    ]


EXERCISES = (
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
    Exercise(
        planned_reward,
        _planned_cases,
        (
            Mistake(
                lambda reward, visits: reward * visit_bonus(visits),
                "Losses are weakened too, so that bad places would seem better with every visit.",
            ),
            Mistake(
                lambda reward, visits: reward + visit_bonus(visits),
                "The bonus is a factor here, not something added: it never pays by itself.",
            ),
            Mistake(
                lambda reward, visits: torch.where(
                    reward > 0, reward * (1 / (visits + 0.99999) - 1 / 99999), reward
                ),
                "This falls like 1/N; the bonus is one over the square root.",
            ),
            Mistake(
                lambda reward, visits: torch.where(
                    reward < 0, reward * visit_bonus(visits), reward
                ),
                "The cases are exchanged: it is positive rewards that visits weaken.",
            ),
        ),
    ),
)
