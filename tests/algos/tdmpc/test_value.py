"""The value of imagined actions against slow loops; first actions that candidates share."""

import itertools
import math

import pytest
import torch

from lib.algos.tdmpc import value as imagined
from lib.algos.tdmpc.model import Dynamics, Heads
from tests.tiny import BOX, PICKS

L, A, E, N, H = 4, 3, 5, 31, 4
STEPS = 5


def heads(draws: torch.Generator, discrete: bool, double: bool = True) -> Heads:
    made = Heads(L, A, 11, draws, discrete)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=draws))
    return made.double() if double else made


def model(draws: torch.Generator) -> Dynamics:
    return Dynamics(L, A, 11, draws, crelu=True, bounded=True).double()


# First actions that candidates share -------------------------------------------------------------


@pytest.fixture
def networks():
    """Dynamics and heads with every parameter away from zero, and five states."""
    draws = torch.Generator().manual_seed(0)
    dynamics = Dynamics(L, A, 16, draws, crelu=True, bounded=True)
    heads = Heads(L, A, 16, draws, discrete=True)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws))
    return dynamics, heads, torch.rand(E, L, generator=draws) * 2 - 1


@pytest.mark.parametrize(
    ("horizon", "samples", "depth"),
    [(6, 128, 4), (6, 81, 4), (6, 80, 3), (2, 128, 2), (10, 512, 5), (4, 2, 0)],
)
def test_all_sequences_of_the_first_actions_but_no_more_than_samples(horizon, samples, depth):
    assert imagined.shared_depth(horizon, PICKS, samples) == depth


def test_actions_in_a_box_share_nothing():
    assert imagined.shared_depth(6, BOX, 512) == 0


@torch.no_grad()
def test_every_sequence_of_two_actions_has_its_index(networks):
    dynamics, heads, z = networks
    found = imagined.prefixes(dynamics, heads, z, 2, A, discount=0.9)
    assert found.returns.shape == (E, 9) and found.latents.shape == (E, 9, L)
    moves = torch.eye(A)
    for index, (first, second) in enumerate(itertools.product(range(A), repeat=2)):
        one, two = (moves[i].expand(E, -1) for i in (first, second))
        middle = dynamics(z, one)
        wanted = heads.reward(torch.cat((z, one), -1))
        wanted = wanted + 0.9 * heads.reward(torch.cat((middle, two), -1))
        torch.testing.assert_close(found.returns[:, index], wanted)
        torch.testing.assert_close(found.latents[:, index], dynamics(middle, two))


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 3, H])
@pytest.mark.parametrize("rated", [False, True], ids=["plain", "with a bonus"])
def test_sharing_changes_no_value(networks, depth, rated):
    dynamics, heads, z = networks
    draws = torch.Generator().manual_seed(1)
    index = torch.randint(A, (E, N, H), generator=draws)
    actions, noise = torch.eye(A)[index], torch.rand(E * N, A, generator=draws)
    options = {
        "discount": 0.9,
        "bonus": (lambda latent: 1 + latent.square().mean(-1)) if rated else None,
    }
    shared = imagined.prefixes(dynamics, heads, z, depth, A, **options)
    args = (dynamics, heads, z, actions, noise)
    value = imagined.trajectory_value(*args, policy_std=0.05, shared=shared, **options)
    wanted = imagined.trajectory_value(*args, policy_std=0.05, **options)
    torch.testing.assert_close(value, wanted)


# Values of sequences ----------------------------------------------------------------------------


def slow_value(dynamics, own, z, actions, gamma, use_q, tail_noise):
    """One sequence, step by step; `tail_noise` is the action noise of the last latent."""
    total = 0.0
    for t, action in enumerate(actions):
        x = torch.cat((z, action))
        total += gamma**t * own.reward(x).item()
        z = dynamics(z, action)
    if use_q:
        last = (torch.tanh(own.policy_net(z)) + tail_noise.clamp(-0.3, 0.3)).clamp(-1, 1)
        total += gamma ** len(actions) * own.q(torch.cat((z, last))[None]).min().item()
    return total


@pytest.mark.parametrize("use_q", [True, False])
def test_trajectory_values_equal_the_loop(use_q, draws):
    dynamics, own = model(draws), heads(draws, discrete=False)
    z = torch.randn(E, L, generator=draws, dtype=torch.float64)
    actions = torch.rand(E, N, STEPS, A, generator=draws, dtype=torch.float64) * 2 - 1
    noise = torch.randn(E, N, A, generator=draws)
    value = imagined.trajectory_value(
        dynamics, own, z, actions, noise.view(-1, A), discount=0.9, policy_std=0.2, use_q=use_q
    )
    assert value.shape == (E, N)
    for e in range(E):
        for n in range(N):
            slow = slow_value(dynamics, own, z[e], actions[e, n], 0.9, use_q, 0.2 * noise[e, n])
            assert value[e, n].item() == pytest.approx(slow, rel=1e-5)


def value_of(own: Heads, draws: torch.Generator, **kwargs) -> torch.Tensor:
    z = torch.zeros(E, L, dtype=torch.float64)
    actions = torch.zeros(E, N, STEPS, A, dtype=torch.float64)
    noise = torch.rand(E * N, A, generator=draws)
    return imagined.trajectory_value(
        model(draws), own, z, actions, noise, discount=0.5, policy_std=0.05, **kwargs
    )


def constant_reward(own: Heads, reward: float) -> Heads:
    with torch.no_grad():
        own.reward_net[-1].weight.zero_()
        own.reward_net[-1].bias.fill_(reward)
    return own


def test_a_bonus_multiplies_positive_rewards_and_leaves_others_alone(draws):
    # 1 + 1/2 + 1/4 + 1/8 + 1/16 = 1.9375, three times that with the bonus
    def bonus(latent: torch.Tensor) -> torch.Tensor:
        assert latent.shape == (STEPS, E * N, L)
        return torch.full(latent.shape[:-1], 3.0, dtype=latent.dtype)

    for reward, expected in ((1.0, 3 * 1.9375), (-1.0, -1.9375)):
        own = constant_reward(heads(draws, discrete=True), reward)
        value = value_of(own, draws, use_q=False, bonus=bonus)
        assert torch.allclose(value, torch.full((E, N), expected, dtype=value.dtype))


def test_the_bonus_is_asked_about_the_states_arrived_in(draws):
    seen = []
    dynamics, own = model(draws), heads(draws, discrete=True)
    z = torch.randn(E, L, generator=draws, dtype=torch.float64)
    actions = torch.eye(A, dtype=torch.float64)[torch.randint(A, (E, N, 1), generator=draws)]

    def bonus(latent: torch.Tensor) -> torch.Tensor:
        seen.append(latent)
        return torch.ones(latent.shape[:-1], dtype=latent.dtype)

    noise = torch.rand(E * N, A, generator=draws)
    imagined.trajectory_value(
        dynamics, own, z, actions, noise, discount=0.5, policy_std=0.05, bonus=bonus
    )
    arrived = dynamics(z[:, None].expand(E, N, L), actions[:, :, 0])
    assert torch.allclose(seen[0][0], arrived.reshape(E * N, L))


def test_a_value_that_is_no_number_counts_as_zero(draws):
    own = constant_reward(heads(draws, discrete=True), math.nan)
    assert not value_of(own, draws, use_q=False).any()


# The policy's own sequences --------------------------------------------------------------------


def test_the_policys_sequences_are_its_own_actions_in_the_model(draws):
    dynamics, own = model(draws), heads(draws, discrete=False)
    obs = torch.randn(E, L, generator=draws, dtype=torch.float64)
    noise = torch.randn(STEPS, E * 2, A, generator=draws)
    sequences = imagined.policy_sequences(dynamics, own, obs, noise, 0.05)
    assert sequences.shape == (E, 2, STEPS, A)
    for e in range(E):
        for p in range(2):
            z = obs[e]
            for t in range(STEPS):
                spread = (0.05 * noise[t, e * 2 + p]).clamp(-0.3, 0.3)
                action = (torch.tanh(own.policy_net(z)) + spread).clamp(-1 + 1e-6, 1 - 1e-6)
                assert torch.allclose(sequences[e, p, t], action)
                z = dynamics(z, action)
