"""A decision that lasts several steps of a gymnasium environment."""

from typing import Any

import gymnasium


class Repeated(gymnasium.Wrapper):
    """Takes an action several times, sums the rewards, and stops where the episode ends."""

    def __init__(self, env: gymnasium.Env, times: int):
        super().__init__(env)
        self.times = times

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """What the last of the steps led to, and what all of them paid."""
        total = 0.0
        for _ in range(self.times):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += reward
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info
