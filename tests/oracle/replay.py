"""Windows drawn by priority as TD-MPC's replay draws them, on the host.

Shapes: H steps of a window, B windows.
"""

import numpy as np
import torch
from torch import Tensor

from lib.replay.buffer import EpisodeBuffer, Windows


def draw_windows(buffer: EpisodeBuffer, uniform: Tensor, batch: int) -> Windows:
    """Windows by priority, and the weights that make up for it.

    Args:
        uniform: as many draws as windows: with replacement. One per stored step: without, where
            a step of weight w gets the key u**(1/w) and the largest keys win (Efraimidis and
            Spirakis 2006).

    Source: prioritised replay (Schaul et al. 2016), on the host as in TD-MPC's code.
    """
    mass = buffer.scaled_priority.flatten().double().cpu().numpy()
    probs, u = mass / mass.sum(), uniform.double().cpu().numpy()
    if len(u) == len(mass) != batch:
        with np.errstate(divide="ignore"):
            index = np.argsort(-np.log(np.clip(u, 1e-7, 1 - 1e-7)) / probs)[:batch]
    else:
        cumulative = probs.cumsum()
        index = cumulative.searchsorted(u * cumulative[-1], side="right")
    weight = (len(probs) * probs[index]) ** -buffer.beta
    at, steps = torch.from_numpy(index).to(buffer.scaled_priority.device), range(buffer.horizon)
    episode, step = at // buffer.length, at % buffer.length
    return Windows(
        torch.stack([buffer.obs[episode, step + k] for k in (*steps, buffer.horizon)]),
        torch.stack([buffer.action[episode, step + k] for k in steps]),
        torch.stack([buffer.reward[episode, step + k] for k in steps]),
        torch.from_numpy(weight / weight.max()).to(buffer.reward),
        at,
    )
