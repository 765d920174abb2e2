"""Beginnings that candidates share are imagined once."""

import itertools

import pytest
import torch

from lib.algos.tdmpc import planner
from lib.algos.tdmpc.model import Dynamics, Heads
from lib.algos.tdmpc.settings import PlannerConfig
from tests.tiny import BOX, PICKS

L, A, E, N, H = 4, 3, 5, 31, 4


@pytest.fixture
def imagined():
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
    assert planner.shared_depth(horizon, PICKS, PlannerConfig(samples=samples)) == depth


def test_actions_in_a_box_share_nothing():
    assert planner.shared_depth(6, BOX, PlannerConfig()) == 0


@torch.no_grad()
def test_every_sequence_of_two_actions_has_its_place(imagined):
    dynamics, heads, z = imagined
    found = planner.prefixes(dynamics, heads, z, 2, A, discount=0.9)
    assert found.returns.shape == (E, 9) and found.latents.shape == (E, 9, L)
    moves = torch.eye(A)
    for place, (first, second) in enumerate(itertools.product(range(A), repeat=2)):
        one, two = (moves[i].expand(E, -1) for i in (first, second))
        middle = dynamics(z, one)
        wanted = heads.reward(torch.cat((z, one), -1))
        wanted = wanted + 0.9 * heads.reward(torch.cat((middle, two), -1))
        torch.testing.assert_close(found.returns[:, place], wanted)
        torch.testing.assert_close(found.latents[:, place], dynamics(middle, two))


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 3, H])
@pytest.mark.parametrize("rated", [False, True], ids=["plain", "with a bonus"])
def test_sharing_changes_no_value(imagined, depth, rated):
    dynamics, heads, z = imagined
    draws = torch.Generator().manual_seed(1)
    index = torch.randint(A, (E, N, H), generator=draws)
    actions, noise = torch.eye(A)[index], torch.rand(E * N, A, generator=draws)
    options = {
        "discount": 0.9,
        "bonus": (lambda latent: 1 + latent.square().mean(-1)) if rated else None,
    }
    shared = planner.prefixes(dynamics, heads, z, depth, A, **options)
    args = (dynamics, heads, z, actions, noise)
    value = planner.trajectory_value(*args, policy_std=0.05, shared=shared, **options)
    wanted = planner.trajectory_value(*args, policy_std=0.05, **options)
    torch.testing.assert_close(value, wanted)
