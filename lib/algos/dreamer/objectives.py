"""What shapes the representation, beside the KL: one function per way, picked by name.

A function gets the parts of the world model that it needs and gives named losses, each averaged
over records and sequences; they are added up. Further ways read `Evidence` too.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from lib.algos.dreamer.networks import Decoder
from lib.algos.dreamer.rssm import Observed


class Evidence(NamedTuple):
    """All that is known about a batch once it has been observed."""

    obs: Tensor  # (T, B, *shape) as stored
    embed: Tensor  # (T, B, E)
    observed: Observed
    features: Tensor  # (T, B, F) of the posterior states


def reconstruction(decoder: Decoder, evidence: Evidence) -> dict[str, Tensor]:
    """How unlikely the decoder finds the observations."""
    return {"reconstruction": decoder.loss(evidence.features, evidence.obs).mean()}


Objective = Callable[[Decoder, Evidence], dict[str, Tensor]]
OBJECTIVES: dict[str, Objective] = {"reconstruction": reconstruction}
