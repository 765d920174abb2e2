"""Curiosity: where the dynamics predict badly, actions are worth more, so that they are seen.

DRAGO's paper names the baseline; the published code adds the prediction error to the value target.

Shapes: H steps of a window, B windows.
"""

from dataclasses import dataclass

from torch import Tensor

from lib.algos.tdmpc.protections.api import Protection
from lib.core.config import at_least


@dataclass(frozen=True)
class Settings:
    """Rewards what the dynamics do not know."""

    weight: float = at_least(0, 0.0)  # times the mean squared error, in units of reward; 0: off


class Curiosity(Protection):
    """Adds the dynamics' prediction error to the reward in the critics' targets, in every task."""

    Settings = Settings

    @property
    def on(self) -> bool:
        return self.settings.weight > 0

    def bonus(self, error: Tensor) -> Tensor:
        """Weighs errors (H, B), which carry no gradient."""
        return self.settings.weight * error


PROTECTION = Curiosity
