"""Evaluation episodes that no learner was trained on, kept for audits.

They are a dictionary, K = 4 per task: obs (tasks, K, T + 1, *shape), action (tasks, K, T, A),
reward (tasks, K, T) and length (tasks, K) long, 0 where nothing is held out.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.core.spaces import ActionSpace, ObsSpace

EPISODES = 4  # K, for the pictures and numbers of an audit


def empty(
    tasks: int, steps: int, space: ObsSpace, actions: ActionSpace, device: torch.device
) -> dict[str, Tensor]:
    """Returns a record of nothing yet.

    Args:
        steps: T, decisions of the longest episode.
    """
    rows = (tasks, EPISODES)
    return {
        "obs": torch.zeros(*rows, steps + 1, *space.shape, dtype=space.dtype, device=device),
        "action": torch.zeros(*rows, steps, actions.size, device=device),
        "reward": torch.zeros(*rows, steps, device=device),
        "length": torch.zeros(rows, dtype=torch.long, device=device),
    }


def keep(
    held_out: dict[str, Tensor],
    task_index: int,
    obs: Tensor,
    action: Tensor,
    reward: Tensor | None = None,
    length: Tensor | None = None,
) -> None:
    """Keeps the first four episodes of a task, in place of those kept before.

    Args:
        held_out: from `empty`, changed in place.
        task_index: the task that was evaluated.
        obs: (E, T + 1, *shape), the first and the last observation included.
        action: (E, T, A) what was done between them.
        reward: (E, T); left out, zeros.
        length: (E,) decisions of each episode; left out, all T.
    """
    kept, steps = min(len(obs), EPISODES), action.shape[1]
    for part in held_out.values():
        part[task_index] = 0
    held_out["obs"][task_index, :kept, : steps + 1] = obs[:kept].to(held_out["obs"])
    held_out["action"][task_index, :kept, :steps] = action[:kept].to(held_out["action"])
    if reward is not None:
        held_out["reward"][task_index, :kept, :steps] = reward[:kept].to(held_out["reward"])
    held_out["length"][task_index, :kept] = (
        steps if length is None else length[:kept].to(held_out["length"])
    )


def rows(held_out: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the episodes of all tasks one after the other, without the empty ones.

    Returns:
        obs (E, T + 1, *shape), action (E, T, A), reward (E, T) and length (E,).
    """
    there = held_out["length"] > 0  # (tasks, K)
    return {name: part[there] for name, part in held_out.items()}


def widened(part: Tensor, size: int) -> Tensor:
    """Appends zeros to the last dimension up to a size."""
    missing = size - part.shape[-1]
    return torch.nn.functional.pad(part, (0, missing)) if missing else part


class HoldsOutEpisodes:
    """What a `Domain` does whose held-out record this is, and whose poses are observations."""

    tasks: tuple[Any, ...]
    obs_space: ObsSpace
    actions: ActionSpace
    episode_length: int
    device: torch.device

    def new_held_out(self) -> dict[str, Tensor]:
        """Nothing held out yet."""
        parts = self.obs_space, self.actions, self.device
        return empty(len(self.tasks), self.episode_length, *parts)

    def record(self, held_out: Any, task_index: int, obs: Tensor, action: Tensor) -> None:
        """Nothing: what was trained on would be no test of the model."""

    def hold_out(
        self,
        held_out: dict[str, Tensor],
        task_index: int,
        obs: Tensor,
        action: Tensor,
        *played: Any,
    ) -> None:
        """Keeps evaluation episodes, zeros where a task has fewer numbers than others: `keep`."""
        wide = (
            widened(part, held_out[name].shape[-1])
            for name, part in (("obs", obs), ("action", action))
        )
        keep(held_out, task_index, *wide, *played)

    def held_out_episodes(self, held_out: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the whole episodes that are held out; see `rows`."""
        return rows(held_out)

    def pose_of(self, obs: Tensor, first: np.ndarray) -> np.ndarray:
        """Poses (T + 1, L): observations (T + 1, *shape), flat, the first one as given."""
        pose = obs.reshape(len(obs), -1).cpu().numpy().copy()
        pose[0] = first
        return pose
