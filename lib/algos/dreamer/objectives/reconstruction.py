"""Reconstruction: states have to explain the observation, as in Dreamer 1 to 3.

Letters: F features.
"""

from torch import Tensor

from lib.algos.dreamer.networks import build_decoder
from lib.algos.dreamer.objectives.api import Context, Evidence, Losses, Objective

MEASURES = {"symbols": "cells", "image": "pixels", "vector": "mse"}  # what a decoder's error is


class Reconstruction(Objective):
    """The negative log-likelihood of observations under a decoder. Source: DreamerV2, eq. 2."""

    draws = True

    def __init__(self, context: Context):
        super().__init__(context)
        cfg, space = context.cfg, context.space
        self.error_name = MEASURES[space.kind]
        self.decoder = build_decoder(
            space, context.features, cfg.network, cfg.latent.norm, context.generator
        )

    def losses(self, evidence: Evidence) -> Losses:
        """Returns how unlikely the decoder finds the observations."""
        unlikely = self.decoder.loss(evidence.features, evidence.obs).mean()
        return Losses({"reconstruction": unlikely})

    def predict(self, features: Tensor) -> Tensor:
        """Returns the likeliest observations, see `Objective.predict`."""
        return self.decoder.predict(features)

    def error(self, features: Tensor, obs: Tensor) -> Tensor:
        """Returns the decoder's own measure: wrong cells, or squared error of pixels or numbers."""
        return self.decoder.error(features, obs)


OBJECTIVE = Reconstruction
