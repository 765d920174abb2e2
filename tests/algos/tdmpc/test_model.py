"""B = 7 rows, H = 5 steps, L = 3 numbers, A = 2 actions, width 11."""

import pytest
import torch

from lib.algos.tdmpc.model import Dynamics, Heads, policy_noise
from tests.oracle import networks
from tests.oracle.ready import precision
from tests.tiny import BOX, PICKS

B, H, L, A, WIDTH = 7, 5, 3, 2, 11


def dynamics(draws: torch.Generator, bounded: bool = True, crelu: bool = True) -> Dynamics:
    return Dynamics(L, A, WIDTH, draws, crelu=crelu, bounded=bounded)


def heads(draws: torch.Generator, discrete: bool = True) -> Heads:
    made = Heads(L, A, WIDTH, draws, discrete)
    with torch.no_grad():
        for p in made.parameters():  # last layers start at zero, which hides mistakes
            p.add_(0.3 * torch.randn(p.shape, generator=draws))
    return made


def millions(*modules: torch.nn.Module) -> float:
    return sum(p.numel() for m in modules for p in m.parameters()) / 1e6


@pytest.mark.parametrize(
    ("obs", "action", "crelu", "agent", "alone"),
    [(3, 3, True, 1.60, 0.53), (17, 6, False, 1.39, 0.28), (24, 6, False, 1.41, 0.29)],
    ids=["minigrid", "cheetah", "walker"],
)
def test_an_agent_has_as_many_parameters_as_published(obs, action, crelu, agent, alone, draws):
    model = Dynamics(obs, action, 512, draws, crelu=crelu, bounded=crelu)
    own = Heads(obs, action, 512, draws, discrete=crelu)
    assert round(millions(model), 2) == alone
    total = millions(model, own.reward_net, own.q, own.policy_net)
    assert total == pytest.approx(agent, abs=0.006)


def test_rewards_and_values_start_at_zero_and_the_target_equals_the_critics(draws):
    own = Heads(L, A, WIDTH, draws, discrete=True)
    x = torch.randn(B, L + A, generator=draws)
    assert not own.reward(x).any() and not own.q(x).any() and not own.target_q(x).any()
    assert all(
        torch.equal(a, b)
        for a, b in zip(own.q.parameters(), own.target_q.parameters(), strict=True)
    )
    assert not any(p.requires_grad for p in own.target_q.parameters())


def test_predictions_are_clipped_then_squashed_only_where_observations_are_bounded(draws):
    raw = torch.tensor([-1e9, -2.0, 0.5, 1e9])
    assert dynamics(draws, bounded=False).bound(raw).tolist() == [-100.0, -2.0, 0.5, 100.0]
    squashed = dynamics(draws, bounded=True).bound(raw)
    assert squashed.tolist() == pytest.approx([-1.0, -0.9640, 0.4621, 1.0], abs=1e-4)


def test_the_raw_output_is_the_network_of_observation_then_action(draws):
    model = dynamics(draws)
    obs, action = torch.randn(B, L, generator=draws), torch.randn(B, A, generator=draws)
    assert torch.equal(model.raw(obs, action), model.net(torch.cat((obs, action), 1)))
    assert torch.equal(model(obs, action), torch.tanh(model.raw(obs, action)))


@pytest.mark.parametrize("bounded", [True, False])
def test_an_unroll_feeds_each_prediction_to_the_next_step(bounded, draws):
    model = dynamics(draws, bounded)
    obs, action = torch.randn(B, L, generator=draws), torch.randn(H, B, A, generator=draws)
    latents = model.unroll(obs, action)
    assert latents.shape == (H + 1, B, L) and torch.equal(latents[0], obs)
    for b in range(B):
        z = obs[b : b + 1]
        for k in range(H):
            z = model(z, action[k, b : b + 1])
            assert torch.allclose(latents[k + 1, b], z[0], atol=1e-5)


def test_a_frozen_copy_stays_behind_and_takes_no_gradient(draws):
    model = dynamics(draws)
    old = model.frozen()
    with torch.no_grad():
        model.net[0].weight.add_(1.0)
    assert not torch.equal(model.net[0].weight, old.net[0].weight)
    assert not any(p.requires_grad for p in old.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_both_critics_are_evaluated_over_any_leading_shape(draws):
    own = heads(draws)
    z = torch.randn(H, B, L, generator=draws)
    action = torch.randn(H, B, A, generator=draws)
    values = own.twin(own.q, z, action)
    assert values.shape == (2, H, B)
    for k in range(H):
        one = own.q(torch.cat((z[k], action[k]), -1))
        assert torch.allclose(values[:, k], one, atol=1e-5)
    assert own.reward(torch.cat((z, action), -1)).shape == (H, B)


def test_a_discrete_policy_answers_one_hot_actions(draws):
    own, z = heads(draws), torch.randn(H, B, L, generator=draws)
    action = own.policy(z, 0.05, torch.rand(H, B, A, generator=draws))
    assert action.shape == (H, B, A)
    assert ((action == 0) | (action == 1)).all() and (action.sum(-1) == 1).all()


def test_a_continuous_policy_answers_its_squashed_mean_plus_noise(draws):
    own, z = heads(draws, discrete=False), torch.randn(B, L, generator=draws)
    mean, noise = torch.tanh(own.policy_net(z)), torch.randn(B, A, generator=draws)
    quiet = own.policy(z, 0.0, noise)
    noisy = own.policy(z, 0.05, noise)
    assert torch.allclose(quiet, mean, atol=2e-6)
    assert torch.allclose(noisy, (mean + 0.05 * noise).clamp(-1, 1), atol=2e-6)
    assert 0 < (noisy - mean).abs().max() < 0.3 + 1e-6


def test_a_policy_is_asked_with_the_kind_of_numbers_that_its_actions_take():
    assert (policy_noise(PICKS), policy_noise(BOX)) == ("uniform", "normal")


# --- as TD-MPC calls its networks ---------------------------------------------------------------


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
def test_the_networks_answer_as_those_of_the_published_code(discrete, bounded):
    draws = torch.Generator().manual_seed(0)
    with precision(torch.float64):
        dynamics = Dynamics(5, 3, 11, draws, crelu=bounded, bounded=bounded)
        heads = Heads(5, 3, 11, draws, discrete)
        for p in heads.parameters():  # last layers start at zero
            p.data.add_(torch.randn(p.shape, generator=draws))
        z, action = torch.randn(7, 5, generator=draws), torch.randn(7, 3, generator=draws)
        noise = torch.rand(7, 3, generator=draws)
        critics = networks.critics(heads.q)
        pairs = [
            (dynamics(z, action), networks.next_latent(dynamics, z, action)),
            (heads.reward(torch.cat((z, action), -1)), networks.reward(heads, z, action)),
            (heads.policy(z, 0.1, noise), networks.policy(heads, z, 0.1, noise)),
            *zip(heads.twin(heads.q, z, action), (q(z, action) for q in critics), strict=True),
        ]
    for mine, published in pairs:
        assert torch.allclose(mine, published, atol=1e-12)
