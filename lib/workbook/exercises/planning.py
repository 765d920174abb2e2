"""Exercises planning: chapter 04."""

import torch
from torch import Generator, Tensor

from lib.core.planning import elite_weights
from lib.workbook.exercise import Case, Exercise, Mistake
from lib.workbook.exercises.inputs import B, H, normal


def _elite_cases(generator: Generator) -> list[Case]:
    values = normal(generator, B, 11)
    return [
        Case((values, H, 0.5)),
        Case((values, 1, 0.5)),  # one elite has all the weight
        Case((values, 17, 2.0)),  # more elites than candidates
        Case((torch.tensor([[1.0, 3.0, 2.0]]), 2, 0.0)),  # no temperature: equal weights
    ]


def _weigh_everybody(values: Tensor, elites: int, temperature: float) -> tuple[Tensor, Tensor]:
    index = elite_weights(values, elites, temperature)[0]
    return index, torch.softmax(temperature * values, 1).gather(1, index)


def _divide_by_the_temperature(
    values: Tensor, elites: int, temperature: float
) -> tuple[Tensor, Tensor]:
    best, index = values.topk(min(elites, values.shape[1]), dim=1)
    return index, torch.softmax(best / max(temperature, 1e-9), dim=1)


def _the_worst(values: Tensor, elites: int, temperature: float) -> tuple[Tensor, Tensor]:
    index, weights = elite_weights(-values, elites, temperature)
    return index, weights


EXERCISES = (
    Exercise(
        elite_weights,
        _elite_cases,
        (
            Mistake(
                _weigh_everybody,
                "The weights are a softmax over the elites alone, so that they sum to one.",
            ),
            Mistake(
                _divide_by_the_temperature,
                "Scores are multiplied by the temperature here, as in TD-MPC's code.",
            ),
            Mistake(_the_worst, "These are the worst candidates: larger scores are better."),
        ),
    ),
)
