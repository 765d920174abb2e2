"""A Dreamer shows of one episode what it imagines, and what its critic expects.

Letters: T decisions, A numbers in an action, H imagined records, F features.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib.algos.api import Imagination
from lib.algos.dreamer import audit, recall
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


def remember(
    agent: "DreamerAgent", episodes: Episodes, generator: torch.Generator
) -> recall.Records | None:
    """Returns what `imagine` finds stored observations in, see `recall.records`."""
    return recall.records(agent.module("model"), episodes, generator)


@torch.no_grad()
def imagine(
    agent: "DreamerAgent",
    obs: Tensor,
    action: Tensor,
    seen: int,
    generator: torch.Generator,
    remembered: recall.Records | None = None,
) -> Imagination:
    """Returns an episode as its world model expects it after the first records.

    Args:
        obs: (T+1, *shape) as stored. action: (T, A). seen: records that are looked at.
        remembered: where an objective that draws nothing finds what a state looks like.

    Returns:
        Observations as stored, images as pictures (T+1, side, side, 3) uint8; rewards as the model
        learns them, and the critic's values of the imagined states.
    """
    model, critic = agent.module("model"), agent.module(TASK.critic)
    before = (obs[:seen].unsqueeze(1), action[: seen - 1].unsqueeze(1))
    states, _, _ = audit.observe(model, *before, generator)
    begin = State(*(part[-1] for part in states))
    features = audit.open_loop(model, begin, action[seen - 1 :].unsqueeze(1), generator)
    features = features[:, 0]  # (H, F) of records seen to T
    unknown = features.new_full((seen,), torch.nan)
    reward = torch.cat((unknown[1:], model.reward(features)))
    value = torch.cat((unknown, critic(features)))
    if model.objective.draws:
        return Imagination(_drawn(agent, model, obs[:seen], features), "", reward, value)
    if remembered is None:
        return Imagination(None, "", reward, value)
    alike = remembered.obs[recall.nearest(features, remembered.features)]
    found = torch.cat((obs[:seen], alike))
    kind = agent.obs_space.kind
    if kind == "image":
        found = model.encoder.picture(found)
    return Imagination(found, RECALLED[kind], reward, value)


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
