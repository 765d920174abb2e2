"""States that a world model cannot draw are shown by what it once saw in a state like them.

Episodes of the same run are filtered, and an imagined state borrows the observation of the record
whose features are nearest. What is shown is therefore never wrong in its details, and can only be
as near as the stored episodes come: it says which situation a state is like, not how sharply the
model knows it.

Letters: E episodes, T decisions of the longest, M records stored, N states, F features.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lib.algos.dreamer import audit
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.world_model import WorldModel
from lib.replay.buffer import Episodes

AT_ONCE = 1024  # states compared with all records in one product, so that memory stays small


class Records(NamedTuple):
    """Observations of a run, and the features that the world model had when it saw them."""

    obs: Tensor  # (M, *shape) as stored
    features: Tensor  # (M, F) of the posterior states, the latent at its mode


@torch.no_grad()
def records(model: WorldModel, episodes: Episodes, generator: torch.Generator) -> Records | None:
    """Returns every record of some episodes with its features; None where there is none.

    Args:
        episodes: obs (E, T+1, *shape), action (E, T, A); what follows an episode's end is left out.
    """
    if not episodes.obs.numel():
        return None
    obs, action = episodes.obs.transpose(0, 1), episodes.action.transpose(0, 1)
    state, posterior, _ = audit.observe(model, obs, action, generator)
    features = model.rssm.features(State(model.rssm.latent.mode(posterior), state.h))
    length = episodes.length
    if length is None:
        length = torch.full((len(episodes.obs),), len(action), device=obs.device)
    there = torch.arange(len(obs), device=obs.device).unsqueeze(1) <= length  # (T+1, E)
    return Records(obs[there], features[there])


def nearest(features: Tensor, known: Tensor) -> Tensor:
    """Returns which known features (M, F) are nearest to features (N, F): (N,) int64, Euclidean."""
    found = [torch.cdist(part, known).argmin(1) for part in features.split(AT_ONCE)]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.long, device=known.device)
