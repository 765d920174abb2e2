"""Measures whether a search in half precision still sees what the dynamics know.

Half precision keeps 8 bits, so a prediction near 1 is off by up to 0.004 for that alone: a squared
error of 4e-6, a tenth of that of a good model. This module measures it on what was stored.
"""

import copy
import warnings

import torch
from torch import Tensor

from lib.algos.tdmpc.model import Dynamics
from lib.core.losses import model_error, prediction_score

ROWS = 1024  # transitions that are looked at
WORTH_A_WARNING = 0.5  # nats of the prediction score


@torch.no_grad()
def scores(
    dynamics: Dynamics, obs: Tensor, action: Tensor, next_obs: Tensor
) -> tuple[float, float]:
    """Computes the mean -log squared error of one-step predictions in single and in half precision.

    Args:
        obs, action, next_obs: (N, L), (N, A) and (N, L); at most `ROWS` of them are asked about.
    """
    every = max(1, len(obs) // ROWS)
    rows = [part[::every] for part in (obs, action, next_obs)]
    half = copy.deepcopy(dynamics).bfloat16()
    found = [
        prediction_score(model_error(m(rows[0], rows[1]), rows[2])).mean() for m in (dynamics, half)
    ]
    return float(found[0]), float(found[1])


def warn_if_lost(single: float, half: float) -> None:
    """Warns where half precision costs the model much of its score."""
    if single - half > WORTH_A_WARNING:
        warnings.warn(
            f"planner.precision bf16 lowers the prediction score from {single:.2f} to {half:.2f}: "
            "the search no longer sees what the model knows; use planner.precision single",
            stacklevel=2,
        )
