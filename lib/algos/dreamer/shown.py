"""A Dreamer shows of one episode what it imagines, and what its critic expects.

Letters: T decisions, A numbers in an action.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib.algos.dreamer import audit
from lib.algos.dreamer.behaviour import TASK
from lib.algos.dreamer.rssm import State

if TYPE_CHECKING:
    from lib.algos.dreamer.agent import DreamerAgent


@torch.no_grad()
def imagine(
    agent: "DreamerAgent", obs: Tensor, action: Tensor, seen: int, generator: torch.Generator
) -> Tensor:
    """Returns an episode as its world model expects it after the first records.

    Args:
        obs: (T+1, *shape) as stored. action: (T, A). seen: records that are looked at.

    Returns:
        As stored; of images (T+1, 64, 64, 3) uint8.
    """
    model = agent.module("model")
    before = (obs[:seen].unsqueeze(1), action[: seen - 1].unsqueeze(1))
    states, _, _ = audit.observe(model, *before, generator)
    begin = State(*(part[-1] for part in states))
    features = audit.open_loop(model, begin, action[seen - 1 :].unsqueeze(1), generator)
    views = model.objective.predict(features)[:, 0]
    if agent.obs_space.kind == "image":
        colours = (255 * views).round().to(torch.uint8)
        return torch.cat((model.encoder.picture(obs[:seen]), colours))
    return torch.cat((obs[:seen], views.to(obs)))


@torch.no_grad()
def values(
    agent: "DreamerAgent", obs: Tensor, action: Tensor, generator: torch.Generator
) -> Tensor:
    """Returns (T,) what the task's critic expects of every decision of an episode."""
    model, critic = agent.module("model"), agent.module(TASK.critic)
    states, _, _ = audit.observe(model, obs.unsqueeze(1), action.unsqueeze(1), generator)
    return critic(model.rssm.features(states))[:-1, 0]
