"""Collects what readers are asked to write: inputs to compare on, and the usual mistakes.

The answer of every exercise is the library's own function, so no solution is kept twice.
"""

from collections.abc import Callable
from typing import Any

from lib.core.errors import unknown
from lib.workbook.exercise import Exercise
from lib.workbook.exercises import (
    dreamer,
    generative,
    model,
    planning,
    replay,
    representation,
    review,
    sequences,
    sources,
    streams,
)
from lib.workbook.exercises.replay import leaving, recent_position
from lib.workbook.exercises.review import planned_reward

__all__ = ["EXERCISES", "exercise_for", "leaving", "planned_reward", "recent_position"]

SUBJECTS = (
    *(model, streams, dreamer, planning, replay, generative, review, representation, sources),
    sequences,
)
EXERCISES: tuple[Exercise, ...] = sum((subject.EXERCISES for subject in SUBJECTS), ())


def exercise_for(reference: Callable[..., Any]) -> Exercise:
    """Returns the exercise whose answer is this function.

    Raises:
        UserError: there is none.
    """
    for exercise in EXERCISES:
        if exercise.reference is reference:
            return exercise
    known = [exercise.reference.__name__ for exercise in EXERCISES]
    raise unknown("exercise", getattr(reference, "__name__", reference), known, "or pass `cases`")
