"""A bounded store of real transitions, for rehearsal with data instead of dreams."""

import torch
from torch import Tensor

from lib.replay.retention import Reservoir


class TransitionStore:
    """Keeps a uniform sample of every transition offered so far, at most `capacity` of them.

    The rule is `Reservoir`, with all transitions of size 1 and a whole task added in one step.

    Args:
        capacity: most transitions kept, or None to keep everything.
    """

    def __init__(
        self, capacity: int | None, obs_dim: int, action_dim: int, device: torch.device | str
    ):
        self.capacity = capacity
        self.obs = torch.zeros(0, obs_dim, device=device)
        self.action = torch.zeros(0, action_dim, device=device)
        self.next_obs = torch.zeros(0, obs_dim, device=device)
        self.key = torch.zeros(0, device=device)

    def __len__(self) -> int:
        return self.key.numel()

    @staticmethod
    def bytes_each(obs_dim: int, action_dim: int) -> int:
        """Counts the bytes of one stored transition in single precision."""
        return 4 * (2 * obs_dim + action_dim)

    def add(
        self, obs: Tensor, action: Tensor, next_obs: Tensor, generator: torch.Generator
    ) -> None:
        """Offers N transitions, (N, L), (N, A) and (N, L)."""
        keys = torch.cat((self.key, Reservoir.keys(len(obs), generator).to(self.key.device)))
        keep = Reservoir.kept(keys, self.capacity)
        self.key = keys[keep]
        self.obs = torch.cat((self.obs, obs))[keep]
        self.action = torch.cat((self.action, action))[keep]
        self.next_obs = torch.cat((self.next_obs, next_obs))[keep]

    @property
    def storage(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the tensors of what is kept, (N, L), (N, A) and (N, L)."""
        return self.obs, self.action, self.next_obs

    def state_dict(self) -> dict[str, Tensor]:
        return {n: getattr(self, n) for n in ("obs", "action", "next_obs", "key")}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            setattr(self, name, value.to(self.key.device))


def draw_transitions(
    storage: tuple[Tensor, Tensor, Tensor], uniform: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws transitions uniformly with replacement, one for every number in [0, 1)."""
    count = len(storage[0])
    at = (uniform.double() * count).long().clamp_max(count - 1)
    obs, action, next_obs = storage
    return obs[at], action[at], next_obs[at]
