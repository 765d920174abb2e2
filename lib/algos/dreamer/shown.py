"""A Dreamer shows of one episode what it imagines, and what its critic expects.

Letters: T decisions, A numbers in an action, H imagined records, F features.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.algos.api import Imagination
from lib.algos.dreamer import audit, recall, trust
from lib.algos.dreamer.behaviour import TASK
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.world_model import WorldModel
from lib.replay.buffer import Episodes

if TYPE_CHECKING:
    from lib.algos.dreamer.agent import DreamerAgent

RECALLED = {  # how an imagined observation came about that the model did not draw, by its kind
    "image": "nearest stored picture, not drawn by the model",
    "symbols": "nearest stored view, not drawn by the model",
    "vector": "nearest stored observation, not predicted by the model",
}


class Remembered(NamedTuple):
    """What shows imagined states besides the agent itself."""

    records: recall.Records | None  # what states look like, where the objective draws nothing
    heads: trust.Heads | None  # how far to trust them


def remember(
    agent: "DreamerAgent",
    episodes: Episodes | None,
    arrays: Mapping[str, np.ndarray],
    generator: torch.Generator,
) -> Remembered:
    """Returns what `imagine` takes besides: stored observations, and an audit's ensemble."""
    model, heads = agent.module("model"), trust.read(arrays, agent.device)
    if episodes is None or model.objective.draws:
        return Remembered(None, heads)
    return Remembered(recall.records(model, episodes, generator), heads)


@torch.no_grad()
def imagine(
    agent: "DreamerAgent",
    obs: Tensor,
    action: Tensor,
    seen: int,
    generator: torch.Generator,
    remembered: Remembered | None = None,
) -> Imagination:
    """Returns an episode as its world model expects it after the first records.

    Args:
        obs: (T+1, *shape) as stored. action: (T, A). seen: records that are looked at.
        remembered: what states look like and how far to trust them, where that is known.

    Returns:
        Observations as stored, images as pictures (T+1, side, side, 3) uint8; rewards as the model
        learns them, and the critic's values of the imagined states.
    """
    model, critic = agent.module("model"), agent.module(TASK.critic)
    records, heads = remembered or Remembered(None, None)
    states, posterior, _ = audit.observe(model, obs.unsqueeze(1), action.unsqueeze(1), generator)
    begin = State(*(part[seen - 1] for part in states))
    taken = action[seen - 1 :]
    features = audit.open_loop(model, begin, taken.unsqueeze(1), generator)[:, 0]  # (H, F)
    unknown = features.new_full((seen,), torch.nan)
    reward = torch.cat((unknown[1:], model.reward(features)))
    value = torch.cat((unknown, critic(features)))
    doubt = None
    if heads:
        before = torch.cat((model.rssm.features(begin), features[:-1]))
        doubt = torch.cat((unknown, trust.disagreement(heads, before, taken)))
    if model.objective.draws:
        views = _drawn(agent, model, obs[:seen], features)
        return Imagination(views, "", reward, value, doubt)
    surprise = torch.cat((unknown, trust.surprise(model, posterior[seen:, 0], features)))
    if records is None:
        return Imagination(None, "", reward, value, doubt, surprise)
    alike = records.obs[recall.nearest(features, records.features)]
    found = torch.cat((obs[:seen], alike))
    kind = agent.obs_space.kind
    if kind == "image":
        found = model.encoder.picture(found)
    return Imagination(found, RECALLED[kind], reward, value, doubt, surprise)


def _drawn(agent: "DreamerAgent", model: WorldModel, seen: Tensor, features: Tensor) -> Tensor:
    """Returns records (S, *shape) as they were seen, and those that features (H, F) stand for."""
    views = model.objective.predict(features)
    if agent.obs_space.kind == "image":
        colours = (255 * views).round().to(torch.uint8)
        return torch.cat((model.encoder.picture(seen), colours))
    return torch.cat((seen, views.to(seen)))


@torch.no_grad()
def values(
    agent: "DreamerAgent", obs: Tensor, action: Tensor, generator: torch.Generator
) -> Tensor:
    """Returns (T,) what the task's critic expects of every decision of an episode."""
    model, critic = agent.module("model"), agent.module(TASK.critic)
    states, _, _ = audit.observe(model, obs.unsqueeze(1), action.unsqueeze(1), generator)
    return critic(model.rssm.features(states))[:-1, 0]
