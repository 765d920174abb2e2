"""TD-MPC's latent model as DRAGO has it consists of shared dynamics, and heads per agent.

The encoder is the identity, so a latent is an observation. Heads read detached latents: the
dynamics learn from prediction alone.

Shapes: B rows (any leading shape), L observation size, A action size.
"""

import copy
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from lib.core.distributions import bounded_sample, one_hot_sample
from lib.core.nn import TwinQ, mlp
from lib.core.spaces import ActionSpace

LATENT_LIMIT = 100.0  # published code: predictions are clipped before anything else


class Dynamics(nn.Module):
    """Predicts the absolute next observation from (observation, action): T in the papers."""

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        width: int,
        generator: torch.Generator,
        *,
        crelu: bool,
        bounded: bool,
    ):
        super().__init__()
        self.bounded = bounded
        self.sizes = (obs_dim, action_dim)
        self.net = mlp(obs_dim + action_dim, width, obs_dim, generator, crelu=crelu)

    def raw(self, obs: Tensor, action: Tensor) -> Tensor:
        """Returns the network's output before any bound: (B, L)."""
        return self.net(torch.cat((obs, action), -1))

    def bound(self, raw: Tensor) -> Tensor:
        """Clips, then takes tanh where observations lie in [-1, 1]."""
        clipped = raw.clamp(-LATENT_LIMIT, LATENT_LIMIT)
        return torch.tanh(clipped) if self.bounded else clipped

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.bound(self.raw(obs, action))

    def unroll(self, obs: Tensor, action: Tensor) -> Tensor:
        """Feeds its own predictions back: (B, L) and (H, B, A) to (H+1, B, L)."""
        latents = [obs]
        for step in action:
            latents.append(self(latents[-1], step))
        return torch.stack(latents)

    def frozen(self) -> "Dynamics":
        """Returns a copy that never trains."""
        return copy.deepcopy(self).requires_grad_(False)


class Model(Protocol):
    """What a search asks of dynamics."""

    def __call__(self, obs: Tensor, action: Tensor) -> Tensor: ...

    def unroll(self, obs: Tensor, action: Tensor) -> Tensor: ...


class Heads(nn.Module):
    """Holds reward, twin critics with their target, and policy of one agent."""

    def __init__(
        self, obs_dim: int, action_dim: int, width: int, generator: torch.Generator, discrete: bool
    ):
        super().__init__()
        self.discrete = discrete
        self.reward_net = mlp(obs_dim + action_dim, width, 1, generator, zero_last=True)
        self.q = TwinQ(obs_dim + action_dim, width, generator)
        self.policy_net = mlp(obs_dim, width, action_dim, generator)
        self.target_q = copy.deepcopy(self.q).requires_grad_(False)

    def reward(self, x: Tensor) -> Tensor:
        """Predicts the reward of x = [z; a]: (..., L+A) to (...)."""
        return self.reward_net(x).squeeze(-1)

    def policy(self, z: Tensor, std: float, noise: Tensor) -> Tensor:
        """Samples a reparameterised action: one-hot, or tanh mean plus clipped noise.

        Args:
            noise: (..., A), uniform draws for discrete actions, standard normal ones otherwise.
        """
        out = self.policy_net(z)
        if self.discrete:
            return one_hot_sample(out, noise)
        return bounded_sample(torch.tanh(out), std, noise)

    def twin(self, critic: TwinQ, z: Tensor, action: Tensor) -> Tensor:
        """Asks both critics, over any leading shape: (..., L) and (..., A) to (2, ...)."""
        x = torch.cat((z, action), -1)
        return critic(x.reshape(-1, x.shape[-1])).view(2, *x.shape[:-1])


def policy_noise(actions: ActionSpace) -> Literal["uniform", "normal"]:
    """Names the kind of random numbers that `Heads.policy` takes for such actions."""
    return "uniform" if actions.discrete else "normal"
