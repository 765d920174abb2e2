"""Actions become tokens, one for every number, and back.

Source: L2M's release; its inverse is the lower edge of a bin, half a bin below the mean.
"""

import torch
from torch import Tensor

NOTHING = 0.0  # what numbers that an action lacks are stored as


def to_tokens(action: Tensor, bins: int) -> Tensor:
    """Returns the bin of every number in [-1, 1], counted from 0."""
    return ((action + 1) * (bins / 2)).long().clamp(0, bins - 1)


def to_actions(token: Tensor, bins: int, decode: str) -> Tensor:
    """Returns what a bin stands for.

    Args:
        decode: "center" of the bin, or its "lower" edge as in the published code.
    """
    shift = {"center": 0.5, "lower": 0.0}[decode]
    return (token + shift) * (2 / bins) - 1


def returns_to_go(reward: Tensor, scale: float) -> Tensor:
    """Returns what an episode will still earn from every step on, that step's reward included.

    Args:
        reward: (..., T), 0 after an episode's end.
        scale: everything is divided by it.

    Source: Chen et al. 2021; not discounted.
    """
    return reward.flip(-1).cumsum(-1).flip(-1) / scale


def padded(action: Tensor, width: int) -> Tensor:
    """Returns (..., A) actions with numbers that do nothing up to a width."""
    return torch.nn.functional.pad(action, (0, width - action.shape[-1]), value=NOTHING)
