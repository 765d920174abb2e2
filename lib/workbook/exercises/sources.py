"""Exercises transfer from several sources: chapter 11."""

import torch
from torch import Generator, Tensor

from lib.algos.dreamer import parameter_transfer
from lib.workbook.exercise import Case, Exercise, Mistake
from lib.workbook.exercises.inputs import normal

OUT, Z = 5, 3  # outputs of a layer, numbers of a state


def _fraction_cases(generator: Generator) -> list[Case]:
    random, source = normal(generator, OUT, Z), normal(generator, OUT, Z)
    return [
        Case((random, source, 0.2)),
        Case((random, source, 0.0)),  # modular: the random numbers alone
        Case((random, source, 1.0)),  # no copy: the random numbers stay underneath
        Case((torch.zeros(OUT), normal(generator, OUT), 0.5)),  # a bias begins at zero
    ]


def _columns_cases(generator: Generator) -> list[Case]:
    def weight(actions: int) -> Tensor:
        return normal(generator, OUT, Z + actions)

    return [
        Case((weight(2), weight(2), Z)),
        Case((weight(6), weight(1), Z)),  # a target with more actions than the source
        Case((weight(1), weight(6), Z)),  # ... and with fewer
    ]


def _as_wide(random: Tensor, source: Tensor, kept: int) -> Tensor:
    """Copies as many columns as both have."""
    shared = min(random.shape[1], source.shape[1])
    return torch.cat((source[:, :shared], random[:, shared:]), 1)


EXERCISES = (
    Exercise(
        parameter_transfer.fraction,
        _fraction_cases,
        (
            Mistake(
                lambda random, source, omega: (1 - omega) * random + omega * source,
                "The random numbers stay whole: a share of the source is added, nothing is mixed.",
            ),
            Mistake(
                lambda random, source, omega: omega * source,
                "The random numbers are missing: they are what the target's own learning starts "
                "from.",
            ),
            Mistake(
                lambda random, source, omega: omega * random + source,
                "The share belongs to the source, not to the random numbers.",
            ),
        ),
    ),
    Exercise(
        parameter_transfer.columns,
        _columns_cases,
        (
            Mistake(
                _as_wide,
                "Columns of actions stay random even where both have them: an action may do "
                "something else now.",
            ),
            Mistake(
                lambda random, source, kept: torch.cat((random[:, :kept], source[:, kept:]), 1),
                "The first columns read the state, and it is these that are copied.",
            ),
        ),
    ),
)
