"""Playing episodes: collecting them for learning, and measuring without learning.

Shapes: E episodes in lock-step, T steps, L observation size, A action size.
"""

from typing import Any

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
) -> Episodes:
    """Plays E whole episodes as one batch; nothing is read back to the host.

    Args:
        agent: has `act(obs, memory, role=, explore=, generator=, heads=)`.
        generator: draws the starts.
        act_generator: draws the actions; None takes the agent's own.
    """
    obs, memory = env.reset(episodes, generator), None
    seen, actions, rewards = [obs], [], []
    for _ in range(env.episode_length):
        action, memory = agent.act(
            obs, memory, role=role, explore=explore, generator=act_generator, heads=heads
        )
        obs, reward = env.step(action)
        seen.append(obs)
        actions.append(action)
        rewards.append(reward)
    return Episodes(torch.stack(seen, 1), torch.stack(actions, 1), torch.stack(rewards, 1))


def returns(episodes: Episodes) -> Tensor:
    """Undiscounted return of each episode, (E,) [task units]."""
    return episodes.reward.sum(1)
