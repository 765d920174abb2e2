"""The value of imagined actions, as model and critics predict it, and a policy's own sequences.

A search over actions (`lib.core.planning`) asks for these values as its `score`.

Shapes: E states, N candidate sequences, P of a policy, h steps of the horizon, L latent size,
A action size, d first actions that candidates share.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lib.algos.tdmpc.model import Heads, Model
from lib.core.spaces import ActionSpace

Bonus = Callable[[Tensor], Tensor]  # next latents (..., L) to the factor of a positive reward


class Prefixes(NamedTuple):
    """What follows from every sequence of d one-hot actions, with which candidates begin.

    A sequence's index is its actions read as digits, the first one the highest.
    """

    returns: Tensor  # (E, A**d) discounted rewards on the way
    latents: Tensor  # (E, A**d, L) where it leads


def shared_depth(horizon: int, actions: ActionSpace, samples: int) -> int:
    """Returns d: as many first actions as have no more sequences than candidates are sampled."""
    if not actions.discrete:
        return 0
    depth = 0
    while depth < horizon and actions.size ** (depth + 1) <= samples:
        depth += 1
    return depth


def prefixes(
    dynamics: Model,
    heads: Heads,
    z: Tensor,
    depth: int,
    action_dim: int,
    *,
    discount: float,
    bonus: Bonus | None = None,
) -> Prefixes:
    """Imagines every sequence of `depth` one-hot actions from E states (E, L).

    Level by level, so that no beginning is imagined twice, neither within an iteration of the
    search nor in the next.
    """
    states = z.shape[0]
    returns, latents = z.new_zeros(states, 1), z.unsqueeze(1)
    moves = torch.eye(action_dim, device=z.device, dtype=z.dtype)
    for step in range(depth):
        parents = latents.shape[1]
        start = latents.repeat_interleave(action_dim, 1)  # (E, A**(step+1), L)
        action = moves.repeat(parents, 1).expand(states, -1, -1)
        latents = dynamics(start, action)
        reward = rated(heads.reward(torch.cat((start, action), -1)), latents, bonus)
        returns = returns.repeat_interleave(action_dim, 1) + discount**step * reward
    return Prefixes(returns, latents)


def rated(reward: Tensor, reached: Tensor, bonus: Bonus | None) -> Tensor:
    """Multiplies positive rewards by the bonus of the states they lead to."""
    return reward if bonus is None else torch.where(reward > 0, reward * bonus(reached), reward)


def trajectory_value(
    dynamics: Model,
    heads: Heads,
    z: Tensor,
    actions: Tensor,
    noise: Tensor,
    *,
    discount: float,
    policy_std: float,
    use_q: bool = True,
    bonus: Bonus | None = None,
    shared: Prefixes | None = None,
) -> Tensor:
    """Predicts the discounted return of action sequences.

    sum_{t<h} discount**t R(z_t, a_t) + discount**h min_j Q_j(z_h, pi(z_h)), NaN read as 0. Only
    the dynamics run step by step; the rewards are one batch.

    Args:
        z: (E, L). actions: (E, N, h, A).
        noise: (E*N, A) draws for the policy at the last latents, see `Heads.policy`.
        bonus: maps predicted next latents to the factor of a positive reward.
        shared: what `prefixes` found for the first of one-hot actions; None imagines all.

    Returns:
        (E, N). Source: TD-MPC algorithm 1; the bonus is DRAGO's reviewer.
    """
    states, candidates, horizon, size = actions.shape
    depth, before = 0, z.new_zeros(states, candidates)
    start = z.unsqueeze(1).expand(-1, candidates, -1)  # (E, N, L)
    if shared is not None:
        depth = round(math.log(shared.returns.shape[1], size))
        index = z.new_zeros(states, candidates, dtype=torch.long)
        for digit in actions[:, :, :depth].argmax(-1).unbind(-1):
            index = index * size + digit
        before = shared.returns.gather(1, index)
        start = shared.latents.gather(1, index.unsqueeze(-1).expand(-1, -1, z.shape[1]))
    steps = actions[:, :, depth:].permute(2, 0, 1, 3).reshape(-1, states * candidates, size)
    latents = dynamics.unroll(start.reshape(states * candidates, -1), steps)  # (h-d+1, E*N, L)
    value = before.flatten()
    if depth < horizon:
        reward = heads.reward(torch.cat((latents[:-1], steps), -1))  # (h-d, E*N)
        reward = rated(reward, latents[1:], bonus)
        gammas = discount ** torch.arange(depth, horizon, device=z.device, dtype=z.dtype)
        value = value + (gammas.unsqueeze(1) * reward).sum(0)
    if use_q:
        last = latents[-1]
        q = heads.twin(heads.q, last, heads.policy(last, policy_std, noise))
        value = value + discount**horizon * q.amin(0)
    return torch.nan_to_num(value).view(states, candidates)


def policy_sequences(
    dynamics: Model,
    heads: Heads,
    z: Tensor,
    noise: Tensor,
    std: float,
) -> Tensor:
    """Imagines the sequences that the policy itself would act.

    Args:
        z: (E, L). noise: (h, E*P, A) draws for the policy, P sequences for every state.

    Returns:
        (E, P, h, A).
    """
    horizon, rows, _ = noise.shape
    states = z.shape[0]
    latent = z.unsqueeze(1).expand(-1, rows // states, -1).reshape(rows, -1)  # (E*P, L)
    actions = []
    for step in range(horizon):
        actions.append(heads.policy(latent, std, noise[step]))
        if step + 1 < horizon:
            latent = dynamics(latent, actions[-1])
    return torch.stack(actions, 1).view(states, rows // states, horizon, -1)
