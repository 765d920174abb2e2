"""The best that can be earned, exactly, by dynamic programming over a table.

Letters: S states, A actions, T steps of an episode. Returns are undiscounted sums.
"""

import torch
from torch import Tensor


def finite_horizon_values(next_state: Tensor, reward: Tensor, steps: int) -> Tensor:
    """Best return of an episode of `steps` steps from each state.

    V_0 = 0 and V_{k+1}(s) = max_a [ r(s, a) + V_k(s'(s, a)) ].

    Args:
        next_state: (S, A) long, the state that each action leads to.
        reward: (S, A) what it pays.
        steps: length of the episode.

    Returns:
        (S,) float64.
    """
    reward = reward.double()
    value = reward.new_zeros(len(reward))
    for _ in range(steps):
        value = (reward + value[next_state]).amax(1)
    return value


def best_actions(next_state: Tensor, reward: Tensor, steps: int) -> Tensor:
    """(T, S) long: an action that earns the best return, for each step and state."""
    reward = reward.double()
    value = reward.new_zeros(len(reward))
    backwards = []
    for _ in range(steps):
        value, action = (reward + value[next_state]).max(1)
        backwards.append(action)
    return torch.stack(backwards[::-1])


def policy_values(next_state: Tensor, reward: Tensor, chances: Tensor, steps: int) -> Tensor:
    """(S,) float64: expected return of acting with fixed chances, (A,) or (S, A)."""
    reward = reward.double()
    value = reward.new_zeros(len(reward))
    for _ in range(steps):
        value = ((reward + value[next_state]) * chances).sum(1)
    return value
