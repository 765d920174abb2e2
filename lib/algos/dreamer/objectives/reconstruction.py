"""Reconstruction: states have to explain the observation, as in Dreamer 1 to 3.

Letters: F features.
"""

from dataclasses import dataclass

from torch import Tensor

from lib.algos.dreamer.networks import build_decoder
from lib.algos.dreamer.objectives.api import Context, Evidence, Losses, Objective
from lib.core.config import at_least

MEASURES = {"symbols": "cells", "image": "pixels", "vector": "mse"}  # what a decoder's error is


@dataclass(frozen=True)
class Settings:
    """Every Dreamer takes the likelihood as it is."""

    scale: float = at_least(0, 1.0)  # weight of the loss


class Reconstruction(Objective):
    """The negative log-likelihood of observations under a decoder. Source: DreamerV2, eq. 2."""

    Settings = Settings
    draws = True

    def __init__(self, context: Context):
        super().__init__(context)
        cfg, space = context.cfg, context.space
        self.scale = cfg.representation.reconstruction.scale
        self.error_name = MEASURES[space.kind]
        self.decoder = build_decoder(
            space, context.features, cfg.network, cfg.latent.norm, context.generator
        )

    def losses(self, evidence: Evidence) -> Losses:
        """Returns how unlikely the decoder finds the observations, weighted."""
        unlikely = self.decoder.loss(evidence.features, evidence.obs).mean()
        return Losses({"reconstruction": self.scale * unlikely})

    def predict(self, features: Tensor) -> Tensor:
        """Returns the likeliest observations, see `Objective.predict`."""
        return self.decoder.predict(features)

    def error(self, features: Tensor, obs: Tensor) -> Tensor:
        """Returns the decoder's own measure: wrong cells, or squared error of pixels or numbers."""
        return self.decoder.error(features, obs)


OBJECTIVE = Reconstruction
