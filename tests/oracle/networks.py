"""The networks as TD-MPC calls them: the rows of one time step, one network after the other.

Shapes: B rows, L observation, A action.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.algos.tdmpc.model import Dynamics, Heads
from lib.core.nn import TwinQ

Critic = Callable[[Tensor, Tensor], Tensor]  # (B, L), (B, A) to (B,)


def raw(dynamics: Dynamics, z: Tensor, action: Tensor) -> Tensor:
    """The output of the dynamics before any bound, (B, L)."""
    return dynamics.net(torch.cat((z, action), -1))


def next_latent(dynamics: Dynamics, z: Tensor, action: Tensor) -> Tensor:
    """T(z, a): clipped, then squashed where observations are bounded, (B, L)."""
    out = raw(dynamics, z, action).clamp(-100, 100)
    return torch.tanh(out) if dynamics.bounded else out


def reward(heads: Heads, z: Tensor, action: Tensor) -> Tensor:
    """R(z, a): (B,)."""
    return heads.reward_net(torch.cat((z, action), -1)).squeeze(-1)


def critics(q: TwinQ) -> list[Critic]:
    """Q1 and Q2 apart; each is Linear, LayerNorm, tanh, Linear, ELU, Linear."""
    weights = [w.transpose(1, 2).unbind(0) for w in q.weights]  # (out, in), as F.linear wants
    others = [b.squeeze(1).unbind(0) for b in (*q.biases, q.scale, q.shift)]
    return [partial(_critic, *member) for member in zip(*weights, *others, strict=True)]


def _critic(
    w1: Tensor,
    w2: Tensor,
    w3: Tensor,
    b1: Tensor,
    b2: Tensor,
    b3: Tensor,
    scale: Tensor,
    shift: Tensor,
    z: Tensor,
    action: Tensor,
) -> Tensor:
    h = F.linear(torch.cat((z, action), -1), w1, b1)
    h = torch.tanh(F.layer_norm(h, h.shape[-1:], scale, shift))
    h = F.elu(F.linear(h, w2, b2))
    return F.linear(h, w3, b3).squeeze(-1)


def policy(heads: Heads, z: Tensor, std: float, noise: Tensor) -> Tensor:
    """pi(z): a straight-through Gumbel-softmax sample, or a clipped normal around a mean.

    Args:
        noise: (B, A), uniform draws for one-hot actions, standard normal ones otherwise.

    Source: `F.gumbel_softmax(hard=True)`, and TD-MPC's `TruncatedNormal`.
    """
    out = heads.policy_net(z)
    if heads.discrete:
        gumbels = -torch.log(-torch.log(noise.clamp(1e-7, 1 - 1e-7)))
        soft = F.softmax(out + gumbels, -1)
        hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
        return hard - soft.detach() + soft
    action = torch.tanh(out) + (std * noise).clamp(-0.3, 0.3)
    inside = action.clamp(-1 + 1e-6, 1 - 1e-6)
    return action - action.detach() + inside.detach()
