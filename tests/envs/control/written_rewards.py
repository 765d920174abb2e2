"""Rewards a second time, as dm_control writes them: one copy, named parts, scalars.

What the library's rewards are checked against: heights, velocities and angular momentum are read
from the simulator, and the rewards are written out on dm_control's own `tolerance`. A task that
was published elsewhere has a row here; a new one needs none.
"""

from typing import Any

from dm_control.utils.rewards import tolerance

INF = float("inf")


def height(physics: Any, part: str) -> float:
    """[m]"""
    return float(physics.named.data.xpos[part, "z"])


def pair_height(physics: Any, first: str, second: str) -> float:
    """Mean height of two parts [m]."""
    return 0.5 * (height(physics, first) + height(physics, second))


def speed_of(physics: Any) -> float:
    """Of the centre of mass along x [m/s]."""
    return float(physics.named.data.sensordata["torso_subtreelinvel"][0])


def spin(physics: Any) -> float:
    """Angular momentum about the centre of mass, around y [kg m^2/s]."""
    return float(physics.named.data.subtree_angmom["torso", "y"])


def upright(physics: Any) -> float:
    """Cosine of the torso's angle to the vertical."""
    return float(physics.named.data.xmat["torso", "zz"])


class Cheetah:
    """One task of a body."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, physics: Any) -> float:
        """From 0 to 1."""
        speed = speed_of(physics)
        match self.name:
            case "run":
                return _at_least(speed, 10, margin=10)
            case "run-backwards":
                return _at_least(-speed, 8, margin=8)
            case "stand-front":
                return self._stand(physics, "bfoot")
            case "stand-back":
                return self._stand(physics, "ffoot")
            case "jump":
                return 0.5 * (self._stand(physics, "bfoot") + self._stand(physics, "ffoot"))
            case "jump-and-run":
                return 0.5 * (self._leap(physics) + _at_least(speed, 7.5, margin=7.5))
            case "jump-and-run-backwards":
                return 0.5 * (self._leap(physics) + _at_least(-speed, 7.5, margin=7.5))
            case "run-front":
                return self._on_foot(physics, "bfoot") * (5 * _at_least(speed, 6, margin=6) + 1) / 6
            case "run-back":
                return self._on_foot(physics, "ffoot") * (5 * _at_least(speed, 6, margin=6) + 1) / 6
            case "lie-down":
                torso = _at_least(-height(physics, "torso"), -0.25, margin=0.25)
                feet = _at_least(-pair_height(physics, "bfoot", "ffoot"), -0.25, margin=0.25)
                return (3 * torso + feet) / 4
            case "legs-up":
                torso = tolerance(height(physics, "torso"), (-INF, 0.25), margin=0.125)
                return (5 * torso + self._on_foot(physics, "bfoot")) / 6
            case "flip":
                turning = _at_least(spin(physics), 8, margin=8)
                return (2 * turning + _at_least(speed, 10, margin=10)) / 3
            case "flip-backwards":
                turning = _at_least(-spin(physics), 8, margin=8)
                return (2 * turning + _at_least(-speed, 8, margin=8)) / 3
        raise ValueError(f"no reward is written for cheetah task {self.name!r}")

    def _stand(self, physics: Any, foot: str) -> float:
        raised = tolerance(pair_height(physics, "torso", foot), (1.2, INF), margin=0.6)
        still = tolerance(speed_of(physics), (-0.5, 0.5), 0.5, "linear", value_at_margin=0)
        return (5 * raised + still) / 6

    def _leap(self, physics: Any) -> float:
        back = tolerance(pair_height(physics, "torso", "bfoot"), (0.9, INF), margin=0.45)
        front = tolerance(pair_height(physics, "torso", "ffoot"), (0.9, INF), margin=0.45)
        return (back + front) / 2

    def _on_foot(self, physics: Any, foot: str) -> float:
        raised = tolerance(height(physics, foot), (1.2, INF), margin=0.6)
        torso = tolerance(height(physics, "torso"), (1.2, INF), margin=0.6)
        return (3 * raised + 2 * torso) / 5


class Walker:
    """One task of a body."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, physics: Any) -> float:
        """From 0 to 1."""
        speed = speed_of(physics)
        match self.name:
            case "stand":
                return self._stand(physics)
            case "walk":
                return self._stand(physics) * self._moving(speed, 1)
            case "run":
                return self._stand(physics) * self._moving(speed, 8)
            case "walk-backwards":
                return self._stand(physics) * self._moving(-speed, 1)
            case "run-backwards":
                return self._stand(physics) * self._moving(-speed, 8)
            case "arabesque":
                torso = tolerance(height(physics, "torso"), (1, INF), margin=0.5)
                left = tolerance(height(physics, "left_foot"), (-INF, 0.08), margin=0.5)
                right = tolerance(height(physics, "right_foot"), (1, INF), margin=0.5)
                return (3 * torso + left + right + self._overturned(physics)) / 6
            case "lie-down":
                torso, thighs = self._floored(physics)
                return (3 * torso + thighs + self._overturned(physics)) / 5
            case "legs-up":
                torso, thighs = self._floored(physics)
                feet = tolerance(
                    pair_height(physics, "left_foot", "right_foot"), (1.1, INF), margin=0.55
                )
                return (3 * torso + 2 * feet + thighs + self._overturned(physics)) / 7
            case "headstand":
                return self._headstand(physics)
            case "flip":
                return self._headstand(physics) * self._moving(speed, 6)
            case "backflip":
                return self._headstand(physics) * self._moving(-speed, 6)
        raise ValueError(f"no reward is written for walker task {self.name!r}")

    def _stand(self, physics: Any) -> float:
        tall = tolerance(height(physics, "torso"), (1.2, INF), margin=0.6)
        return (3 * tall + (1 + upright(physics)) / 2) / 4

    def _moving(self, speed: float, target: float) -> float:
        move = tolerance(speed, (target, INF), target / 2, "linear", value_at_margin=0.5)
        return (5 * move + 1) / 6

    def _overturned(self, physics: Any) -> float:
        return (1 - upright(physics)) / 2

    def _floored(self, physics: Any) -> tuple[float, float]:
        thigh = pair_height(physics, "left_thigh", "right_thigh")
        torso = tolerance(height(physics, "torso"), (-INF, 0.08), margin=0.04)
        return torso, tolerance(thigh, (-INF, 0.08), margin=0.04)

    def _headstand(self, physics: Any) -> float:
        feet = pair_height(physics, "left_foot", "right_foot")
        thigh = pair_height(physics, "left_thigh", "right_thigh")
        return (
            3 * tolerance(feet, (1.1, INF), margin=0.55)
            + 2 * tolerance(thigh, (1, INF), margin=0.5)
        ) / 5


def _at_least(x: float, bound: float, margin: float) -> float:
    """1 from the bound on, falling in a straight line to 0 at the margin below it."""
    return tolerance(x, (bound, INF), margin, "linear", value_at_margin=0)


WRITTEN = {
    f"{domain}-{short}": kind(short)
    for domain, kind, tasks in (
        (
            "cheetah",
            Cheetah,
            (
                "run",
                "run-backwards",
                "stand-front",
                "stand-back",
                "jump",
                "jump-and-run",
                "jump-and-run-backwards",
                "run-front",
                "run-back",
                "lie-down",
                "legs-up",
                "flip",
                "flip-backwards",
            ),
        ),
        (
            "walker",
            Walker,
            (
                "stand",
                "walk",
                "run",
                "walk-backwards",
                "run-backwards",
                "arabesque",
                "lie-down",
                "legs-up",
                "headstand",
                "flip",
                "backflip",
            ),
        ),
    )
    for short in tasks
}
