"""Exercises tasks, streams and what is read off them: chapter 01."""

import math
from typing import Any

import numpy as np
import torch
from torch import Generator

from lib.core import metrics
from lib.envs.grid.optimum import finite_horizon_values, policy_values
from lib.workbook.exercise import Case, Exercise, Mistake
from lib.workbook.exercises.inputs import normal


def _values_cases(generator: Generator) -> list[Case]:
    next_state = torch.randint(7, (7, 3), generator=generator)
    reward = normal(generator, 7, 3)
    waits = torch.tensor([[0, 1], [0, 1]])  # two states, each action leads to one of them
    pays = torch.tensor([[0.0, 0.0], [0.0, 5.0]])  # only staying in the second
    return [
        Case((next_state, reward, 5)),
        Case((next_state, reward, 1)),
        Case((next_state, reward, 0)),  # no step left, nothing to earn
        Case((waits, pays, 3)),
    ]


def _matrix_cases(generator: Generator) -> list[Case]:
    drawn = torch.rand(4, 4, generator=generator).tolist()
    below = [[drawn[k][j] if j <= k else math.nan for j in range(4)] for k in range(4)]
    return [
        Case((below,)),
        Case(([[0.9, math.nan], [0.5, 0.8]],)),
        Case(([[0.5, math.nan, math.nan], [0.8, 0.6, math.nan], [0.3, 0.6, 0.7]],)),
        Case(([[0.7]],)),  # a single task
    ]


def _since_the_best(matrix: list[list[float]]) -> float:
    return float((np.nanmax(matrix, axis=0) - np.asarray(matrix)[-1]).mean())


def _area_cases(generator: Generator) -> list[Case]:
    height = torch.rand(4, generator=generator).tolist()
    return [
        Case(([0, 1, 3, 4], height)),
        Case(([0, 1, 3, 4], height, 6)),  # goes on level
        Case(([2, 3, 5, 6], height, 8)),  # begins level, too
        Case(([0], [0.5])),  # one evaluation: a point
    ]


def _area_of_what_was_seen(steps: list[float], performance: list[float], end: Any = None) -> float:
    last = steps[-1] if end is None else end
    return float(np.trapezoid(performance, steps) / last) if last else performance[0]


def _whole_area(steps: list[float], performance: list[float], end: Any = None) -> float:
    length = steps[-1] if end is None else end
    return metrics.area_under_curve(steps, performance, end) * (length or 1)


EXERCISES = (
    Exercise(
        finite_horizon_values,
        _values_cases,
        (
            Mistake(
                lambda next_state, reward, steps: steps * reward.double().amax(1),
                "It takes the best pay of one state again and again; add what follows from there.",
            ),
            Mistake(
                lambda next_state, reward, steps: policy_values(
                    next_state, reward, torch.full((reward.shape[1],), 1 / reward.shape[1]), steps
                ),
                "This averages over actions, as if acting by chance; the best one is chosen.",
            ),
            Mistake(
                lambda next_state, reward, steps: finite_horizon_values(
                    next_state, reward, steps + 1
                ),
                "It counts one step too many: with no step left nothing is earned.",
            ),
        ),
    ),
    Exercise(
        metrics.forgetting,
        _matrix_cases,
        (
            Mistake(
                metrics.backward_transfer,
                "This is backward transfer: the sign is turned and the last task left out.",
            ),
            Mistake(
                lambda matrix: -metrics.forgetting(matrix),
                "The sign is turned round: what was lost counts as positive.",
            ),
            Mistake(
                lambda matrix: -metrics.backward_transfer(matrix),
                "The last task counts in the mean, with 0.",
            ),
            Mistake(
                _since_the_best,
                "It measures from a task's best moment; take the moment when its training ended.",
            ),
        ),
    ),
    Exercise(
        metrics.area_under_curve,
        _area_cases,
        (
            Mistake(
                lambda steps, performance, end=None: float(np.mean(performance)),
                "A plain mean forgets that evaluations are unevenly spaced.",
            ),
            Mistake(
                _area_of_what_was_seen,
                "Before the first and after the last evaluation the curve stays level.",
            ),
            Mistake(_whole_area, "It is a mean height: divide by the length of the interval."),
        ),
    ),
)
