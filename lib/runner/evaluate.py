"""Playing episodes: collecting them for learning, and measuring without learning.

Shapes: E episodes in lock-step, T steps, L observation size, A action size.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.envs.api import VectorEnv
from lib.replay.buffer import Episodes


@torch.no_grad()
def play(
    agent: Any,
    env: VectorEnv,
    episodes: int,
    generator: torch.Generator,
    *,
    role: str = "learner",
    explore: bool,
    act_generator: torch.Generator | None = None,
    heads: Any = None,
    poses: list[np.ndarray] | None = None,
) -> Episodes:
    """Plays E whole episodes as one batch; nothing is read back to the host, but for poses.

    Args:
        agent: has `act(obs, memory, role=, explore=, generator=, heads=)`.
        generator: draws the starts.
        act_generator: draws the actions; None takes the agent's own.
        poses: takes the first episode's T+1 poses, to be drawn later.
    """
    obs, memory = env.reset(episodes, generator), None
    if poses is not None:
        poses.append(env.pose()[0])
    seen, actions, rewards = [obs], [], []
    for _ in range(env.episode_length):
        action, memory = agent.act(
            obs, memory, role=role, explore=explore, generator=act_generator, heads=heads
        )
        obs, reward = env.step(action)
        seen.append(obs)
        actions.append(action)
        rewards.append(reward)
        if poses is not None:
            poses.append(env.pose()[0])
    return Episodes(torch.stack(seen, 1), torch.stack(actions, 1), torch.stack(rewards, 1))


def unbroken(episodes: Episodes, env: VectorEnv) -> Episodes:
    """The episodes just played in `env` whose physics stayed finite."""
    broken = env.broken
    if broken is None or not bool(broken.any()):
        return episodes
    return Episodes(*(part[~broken.to(part.device)] for part in episodes))


def returns(episodes: Episodes) -> Tensor:
    """Undiscounted return of each episode, (E,) [task units]."""
    return episodes.reward.sum(1)
