"""What an objective is: the part of a world model that says what its states have to know.

Beside the KL, rewards and ends, something has to tell the latent what matters: drawing what was
seen, prototypes, contrast. An objective is a module and owns whatever that takes (a decoder,
projections, prototypes), its noise, and its own measure of error. The world model, its audits and
the viewers know no objective by name.

Letters: T records, B sequences, V views, F features, E embedding. Where an objective has several
views, B counts the rows of all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lib.algos.dreamer.rssm import Observed
from lib.core.noise import NoiseLayout
from lib.core.spaces import ObsSpace

if TYPE_CHECKING:
    from lib.algos.dreamer.run_settings import DreamerRun


@dataclass(frozen=True)
class Context:
    """What an objective may know of the world model when it is built."""

    space: ObsSpace  # of the observations
    features: int  # F
    embed: int  # E
    cfg: "DreamerRun"
    generator: torch.Generator  # on the CPU, decides the first weights


class Evidence(NamedTuple):
    """All that is known about a batch once it has been observed."""

    obs: Tensor  # (T, B, *shape) as the encoder saw it
    action: Tensor  # (T, B, A) that led to each record
    embed: Tensor  # (T, B, E)
    observed: Observed
    features: Tensor  # (T, B, F) of the posterior states
    noise: dict[str, Tensor]  # what `Objective.noise` declares
    average: Any = None  # the averaged copy of the world model, where `Objective.average` asks
    scheduled: Mapping[str, Tensor | float] = MappingProxyType({})  # see `Objective.scheduled`


class Losses(NamedTuple):
    """Scalars by name."""

    added: dict[str, Tensor]  # terms of the loss, with their weights
    told: dict[str, Tensor] = {}  # noqa: RUF012 (read, never written); for the log alone


class Objective(nn.Module):
    """One way to shape the representation. A subclass defines `losses`, the rest where it can."""

    average: ClassVar[float | None] = None
    """Rate at which a copy of the whole world model follows it, update by update; None: no copy."""

    views: ClassVar[int] = 1
    """Copies of every batch that the world model learns from, see `augment`."""

    frozen: Mapping[str, int] = {}
    """Parameters of the objective to how many updates their gradients are zero at first."""

    Settings: ClassVar[type | None] = None
    """A frozen dataclass of what the objective can be told, `representation.NAME` of a run."""

    @classmethod
    def check(cls, run: "DreamerRun") -> None:
        """Raises UserError where a run's settings do not fit the objective."""

    after_update: Callable[[dict[str, Tensor]], None] | None = None
    """Writes the objective's parameters in place after a step, given (..., *shape) by name."""

    error_name: ClassVar[str] = ""
    """What `error` measures, as metrics call it; "" for an objective that measures none."""

    draws: ClassVar[bool] = False
    """Whether `predict` gives observations."""

    def __init__(self, context: Context):
        super().__init__()

    def noise(self, records: int, rows: int) -> NoiseLayout:
        """Declares the random numbers of `losses` and `augment` for (T, B); none by default."""
        return {}

    def augment(self, obs: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """Returns what the encoder sees while learning; acting and audits never augment.

        Args:
            obs: (T, V B, *shape) as stored, all rows of one view after the other.
            noise: see `noise`.
        """
        return obs

    def scheduled(self, updates: int) -> dict[str, float]:
        """Returns the weights that change with the number of updates made before; none by default.

        `losses` reads them in its evidence; without any there, what the settings say counts.
        """
        return {}

    def losses(self, evidence: Evidence) -> Losses:
        """Returns named scalars, averaged over records and sequences."""
        raise NotImplementedError(f"{type(self).__name__} defines no losses")

    def predict(self, features: Tensor) -> Tensor:
        """Returns the observations that features (..., F) stand for, where the objective `draws`.

        They are (..., *shape) as stored, or colours (..., 64, 64, 3) in 0..1 of pictures.
        """
        raise NotImplementedError(f"{type(self).__name__} draws no observations")

    def error(self, features: Tensor, obs: Tensor) -> Tensor | None:
        """Returns how wrong features are about observations: (...); None: it measures none."""
        return None
