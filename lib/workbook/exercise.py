"""Describes an exercise: a function that readers write, calls to compare, and usual mistakes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Case:
    """Holds arguments of one call; floating-point tensors also have their gradients compared."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mistake:
    """Describes a wrong answer that readers often give, and the hint that leads out of it."""

    wrong: Callable[..., Any]
    hint: str


@dataclass(frozen=True)
class Exercise:
    """Describes a function that readers write themselves; the library's own is the answer."""

    reference: Callable[..., Any]
    cases: Callable[[torch.Generator], Sequence[Case]]  # random and edge inputs
    mistakes: Sequence[Mistake] = ()
