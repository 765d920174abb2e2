"""Replays fixed-length episodes by priority, wholly on the device.

Shapes: C episodes of capacity, T steps an episode, H steps a window, B windows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lib.core.errors import UserError
from lib.core.noise import NoiseSpec, draw_noise


class Episodes(NamedTuple):
    """A batch of E whole episodes, collected in lock-step.

    Where episodes may end early, everything after an episode's end is padding and its rewards 0.
    """

    obs: Tensor  # (E, T+1, L) or (E, T+1, *shape), the last one is the final observation
    action: Tensor  # (E, T, A)
    reward: Tensor  # (E, T)
    length: Tensor | None = None  # (E,) int64 steps until the end; None: T everywhere
    terminal: Tensor | None = None  # (E,) bool, ended by the world; False: cut by a time limit
    success: Tensor | None = None  # (E,) bool, whether the task's goal was reached at the end
    cell: Tensor | None = None  # (E, T+1) int64 cell that the agent is in, where there are cells
    reached: Tensor | None = None  # (E,) bool, whether the goal was reached at any step


class Storage(NamedTuple):
    """The tensors of a ring buffer; unused steps have weight 0."""

    obs: Tensor  # (C, T+1, L)
    action: Tensor  # (C, T, A)
    reward: Tensor  # (C, T)
    scaled_priority: Tensor  # (C, T) priority**alpha of the window that starts here


class Windows(NamedTuple):
    """Training windows, time first."""

    obs: Tensor  # (H+1, B, L)
    action: Tensor  # (H, B, A)
    reward: Tensor  # (H, B)
    weight: Tensor  # (B,) importance weights, largest 1
    index: Tensor  # (B,) where each window starts

    def rows(self, n: int) -> "Windows":
        """Returns the first n windows."""
        return Windows(
            self.obs[:, :n], self.action[:, :n], self.reward[:, :n], self.weight[:n], self.index[:n]
        )


def join(first: Windows, second: Windows) -> Windows:
    """Joins two batches of windows, the first one's rows first."""
    return Windows(
        torch.cat((first.obs, second.obs), 1),
        torch.cat((first.action, second.action), 1),
        torch.cat((first.reward, second.reward), 1),
        torch.cat((first.weight, second.weight)),
        torch.cat((first.index, second.index)),
    )


def draw_windows(
    storage: Storage, uniform: Tensor, batch: int, horizon: int, beta: float
) -> Windows:
    """Draws windows with probability proportional to `scaled_priority`, weighted by (N P)**-beta.

    Args:
        uniform: draws from [0, 1). As many as windows wanted: with replacement. One for every step
            of the storage: without, as the windows with the largest log of the scaled priority
            plus Gumbel noise.

    Returns:
        `batch` windows, their weights over the largest one's.
    """
    scaled_priority = storage.scaled_priority.flatten()  # (N,)
    if uniform.numel() == scaled_priority.numel() != batch:
        noise = -torch.log(-torch.log(uniform.clamp(1e-7, 1 - 1e-7)))
        index = torch.topk(torch.log(scaled_priority) + noise, batch).indices
    else:
        cumulative = scaled_priority.double().cumsum(0)
        index = torch.searchsorted(cumulative, uniform.double() * cumulative[-1], right=True)
        # Where a priority is no number nothing is found: stay on a start that fits.
        index = index.clamp_max(scaled_priority.numel() - 1 - horizon)
    weight = scaled_priority[index].pow(-beta)  # N and the total are the same for all
    length = storage.reward.shape[1]
    episode, step = index // length, index % length
    steps = step + torch.arange(horizon + 1, device=index.device).unsqueeze(1)  # (H+1, B)
    return Windows(
        storage.obs[episode, steps],
        storage.action[episode, steps[:-1]],
        storage.reward[episode, steps[:-1]],
        weight / weight.amax(),
        index,
    )


class EpisodeBuffer:
    """A ring of episodes with one priority per step.

    A new step gets the largest priority present; the last H steps of an episode get none, so
    that no window crosses an episode's end. Windows are drawn with probability proportional to
    priority**alpha, with replacement until the ring is full and without afterwards (unless more
    are asked for than there are), and weighted by (N P)**-beta over the largest weight. Source:
    TD-MPC's replay, which follows Schaul et al. 2016.

    What is kept per step is `scaled_priority`, the priority already raised to alpha. Nothing here
    reads a device value on the host.
    """

    def __init__(
        self,
        capacity: int,
        episode_length: int,
        obs_dim: int,
        action_dim: int,
        horizon: int,
        *,
        alpha: float = 0.6,
        beta: float = 0.4,
        device: torch.device | str = "cpu",
    ):
        if horizon >= episode_length:
            raise UserError(
                f"horizon {horizon} leaves no window in an episode of {episode_length} steps; "
                "shorten planner.horizon or lengthen env.episode_length"
            )
        self.capacity = max(1, capacity // episode_length)  # in episodes
        self.length, self.horizon = episode_length, horizon
        self.alpha, self.beta = alpha, beta
        self.obs = torch.zeros(self.capacity, episode_length + 1, obs_dim, device=device)
        self.action = torch.zeros(self.capacity, episode_length, action_dim, device=device)
        self.reward = torch.zeros(self.capacity, episode_length, device=device)
        self.scaled_priority = torch.zeros(self.capacity, episode_length, device=device)
        self.episodes = 0  # stored so far, at most the capacity
        self.next = 0  # where the next episode goes

    @property
    def count(self) -> int:
        """Counts the transitions stored."""
        return self.episodes * self.length

    @property
    def windows(self) -> int:
        """Counts the steps at which a window may start."""
        return self.episodes * (self.length - self.horizon)

    @property
    def full(self) -> bool:
        return self.episodes == self.capacity

    def add(self, new: Episodes) -> None:
        """Stores E episodes, overwriting the oldest ones once the ring is full."""
        n, length = new.reward.shape
        if length != self.length or new.obs.shape[1] != length + 1:
            raise UserError(
                f"an episode of {length} steps arrived where all must have {self.length}: "
                "this family assumes a fixed episode length"
            )
        if n > self.capacity:
            raise UserError(
                f"{n} episodes at once do not fit a replay of {self.capacity}; "
                "lower budget.parallel_envs or raise learning.capacity"
            )
        top = (
            self.scaled_priority.amax()
            if self.episodes
            else torch.ones((), device=self.scaled_priority.device)
        )
        at = (torch.arange(n, device=self.scaled_priority.device) + self.next) % self.capacity
        self.obs[at], self.action[at], self.reward[at] = new.obs, new.action, new.reward
        self.scaled_priority[at] = top
        self.scaled_priority[at, length - self.horizon :] = 0.0
        self.next = (self.next + n) % self.capacity
        self.episodes = min(self.episodes + n, self.capacity)

    @property
    def storage(self) -> Storage:
        """Returns the ring's tensors themselves, used or not."""
        return Storage(self.obs, self.action, self.reward, self.scaled_priority)

    def draw(self, batch: int) -> NoiseSpec:
        """Says which random numbers so many windows take now, see `draw_windows`."""
        apart = self.full and batch <= self.windows
        return NoiseSpec("uniform", (self.scaled_priority.numel() if apart else batch,))

    def sample(self, batch: int, generator: torch.Generator) -> Windows:
        """Draws windows by priority."""
        uniform = draw_noise({"uniform": self.draw(batch)}, generator)["uniform"]
        return draw_windows(self.storage, uniform, batch, self.horizon, self.beta)

    def set_priorities(self, index: Tensor, priority: Tensor) -> None:
        """Replaces the priorities of the windows that start at `index` (both (B,))."""
        self.scaled_priority.view(-1)[index] = priority.pow(self.alpha)

    def transitions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns every stored (obs, action, next obs), each (N, .)."""
        obs, action = self.obs[: self.episodes], self.action[: self.episodes]
        return obs[:, :-1].flatten(0, 1), action.flatten(0, 1), obs[:, 1:].flatten(0, 1)

    def state_dict(self) -> dict:
        stored = slice(0, self.episodes)
        return {
            "obs": self.obs[stored],
            "action": self.action[stored],
            "reward": self.reward[stored],
            "scaled_priority": self.scaled_priority[stored],
            "next": self.next,
        }

    def load_state_dict(self, state: dict) -> None:
        self.episodes = state["obs"].shape[0]
        for name in ("obs", "action", "reward", "scaled_priority"):
            getattr(self, name)[: self.episodes] = state[name].to(self.obs.device)
        self.next = state["next"]
