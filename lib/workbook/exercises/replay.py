"""Exercises what a replay keeps and draws: chapter 05."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Generator

from lib.replay.retention import Reservoir
from lib.replay.sampling import Sampler, Table
from lib.workbook.exercise import Case, Exercise, Mistake


def leaving(key: list[float], size: list[int], capacity: int) -> list[int]:
    """Returns positions of those that leave a reservoir, in that order, until the rest fits.

    Args:
        key: drawn at arrival, oldest first. size: what each takes. capacity: what sizes may sum to.
    """
    return Reservoir().leaving(np.array(key), np.array(size), capacity, Generator())


def recent_position(coin: float, u: float, stored: int, share: float) -> int:
    """Returns the position, oldest first, of the episode that `sampling="recent"` draws."""
    table = Table()
    table.order = np.arange(stored)
    sampler = Sampler("recent", share, slack=1, row_start="zero")
    return int(sampler.choose(table, np.array([[coin, u]]))[0])


def _leaving_cases(generator: Generator) -> list[Case]:
    key = torch.rand(7, generator=generator).tolist()
    return [
        Case((key, [1, 1, 1, 1, 1, 1, 1], 4)),
        Case((key, [4, 2, 7, 1, 3, 5, 2], 13)),
        Case((key, [4, 2, 7, 1, 3, 5, 2], 24)),  # just fits: nobody leaves
        Case(([0.5, 0.2, 0.9], [3, 3, 3], 6)),  # just fits without one
        Case(([0.5, 0.9, 0.2], [3, 3, 3], 6)),  # the newest does not enter
    ]


def _leave_by(order: Callable[[list[float]], list[int]], fits: Callable[[int, int], bool]) -> Any:
    """Returns a rule that lets go in some order until what is left fits, as `fits` sees it."""

    def wrong(key: list[float], size: list[int], capacity: int) -> list[int]:
        left, gone = sum(size), []
        for position in order(key):
            if fits(left, capacity):
                break
            gone.append(position)
            left -= size[position]
        return gone

    return wrong


def _smallest_first(key: list[float]) -> list[int]:
    return sorted(range(len(key)), key=key.__getitem__)


def _as_many_as_too_much(key: list[float], size: list[int], capacity: int) -> list[int]:
    return _smallest_first(key)[: max(0, len(size) - capacity)]


def _recent_cases(generator: Generator) -> list[Case]:
    draws = torch.rand(6, 2, generator=generator, dtype=torch.float64).tolist()
    random = [Case((coin, u, 100, 0.5)) for coin, u in draws]
    return [
        *random,
        Case((0.2, 0.25, 10, 0.5)),  # favours new ones
        Case((0.8, 0.25, 10, 0.5)),  # does not
        Case((0.3, 0.5, 10, 0.25)),
        Case((0.0, 0.999, 1, 1.0)),  # one episode alone
    ]


def _position_by(bend: Callable[[float], float], turned: bool = False) -> Callable[..., int]:
    """Returns a draw whose uniform number is bent in another way, or by the other draws."""

    def wrong(coin: float, u: float, stored: int, share: float) -> int:
        return int(stored * (bend(u) if (coin < share) != turned else u))

    return wrong


EXERCISES = (
    Exercise(
        leaving,
        _leaving_cases,
        (
            Mistake(
                _leave_by(lambda key: list(range(len(key))), lambda left, most: left <= most),
                "The oldest leave: that is fifo. Here the smallest keys do.",
            ),
            Mistake(
                _leave_by(lambda key: _smallest_first(key)[::-1], lambda left, most: left <= most),
                "The largest keys leave; it is the smallest ones that have to.",
            ),
            Mistake(
                _leave_by(_smallest_first, lambda left, most: left < most),
                "One leaves too many: what just fits may stay.",
            ),
            Mistake(
                _as_many_as_too_much,
                "It counts items, but the capacity is about the sum of their sizes.",
            ),
        ),
    ),
    Exercise(
        recent_position,
        _recent_cases,
        (
            Mistake(
                lambda coin, u, stored, share: int(stored * u),
                "Every draw is uniform: those that favour new episodes take the square root of u.",
            ),
            Mistake(
                _position_by(math.sqrt, turned=True),
                "The coin is turned round: the square root belongs to draws with coin < share.",
            ),
            Mistake(
                _position_by(lambda u: u * u),
                "A square favours old episodes; the square root moves u towards 1.",
            ),
            Mistake(
                _position_by(lambda u: 1 - math.sqrt(u)),
                "This counts from the newest: position 0 is the oldest.",
            ),
        ),
    ),
)
