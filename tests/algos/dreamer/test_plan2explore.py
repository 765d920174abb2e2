"""The ensemble and what it pays. K = 3 members, Z = 10, F = 27, A = 7."""

import pytest
import torch
from torch.nn import functional as F

from lib.algos.dreamer.behaviour import Actor, Starts, imagine, imagine_noise
from lib.algos.dreamer.exploration.plan2explore import (
    Ensemble,
    ensemble_loss,
    episode_disagreement,
    exploration_reward,
    observed_loss,
)
from lib.algos.dreamer.networks import count
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.settings import NetworkConfig
from lib.core.noise import draw_noise
from lib.engine import seeds
from tests.algos.dreamer.models import (
    MOVES,
    SPACES,
    A,
    B,
    H,
    T,
    batch,
    generator,
    noise_of,
    reached,
    settings,
    world,
)

K, FEATURES, Z = 3, 27, 10
SMALL = settings().network


def ensemble(norm: str = "none", seed: int = 0) -> Ensemble:
    return Ensemble(FEATURES, A, Z, K, SMALL, norm, generator(seed))


def inputs(*lead: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draws = generator(seed)
    return tuple(torch.randn(*lead, size, generator=draws) for size in (FEATURES, A))


def member(net: Ensemble, index: int, x: torch.Tensor) -> torch.Tensor:
    """One member, layer by layer."""
    last = len(net.weights) - 1
    for i, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        x = x @ weight[index] + bias[index]
        if i < last:
            if len(net.scales):
                x = F.layer_norm(x, x.shape[-1:], eps=1e-3)
                x = x * net.scales[i][index] + net.shifts[i][index]
            x = F.elu(x)
    return x


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_members_are_networks_of_their_own(norm):
    net = ensemble(norm)
    features, action = inputs(11)
    found = net(features, action)
    assert found.shape == (K, 11, Z)
    for index in range(K):
        slow = member(net, index, torch.cat((features, action), -1))
        torch.testing.assert_close(found[index], slow)
    assert not torch.allclose(found[0], found[1])


def test_the_published_size():
    # 2055*400 + 400 + 3 * 160,400 + 400*1024 + 1024 = 1,714,224, ten times
    net = Ensemble(2048, 7, 1024, 10, NetworkConfig(), "none", generator())
    assert count(net) == 17_142_240


def test_members_start_like_every_other_layer():
    # |w| < sqrt(6 / (in + out)) of a single member, not of all of them together
    weight = ensemble().weights[0]
    bound = (6 / sum(weight.shape[1:])) ** 0.5
    assert 0.95 * bound < weight.abs().max() <= bound
    assert not any(bias.any() for bias in ensemble().biases)


def test_disagreement_by_hand():
    # members say (1, 0), (3, 0), (5, 6): population std sqrt(8/3) and sqrt(8), their mean 2.231
    net = Ensemble(FEATURES, A, 2, K, SMALL, "none", generator())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.biases[-1].copy_(torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]], [[5.0, 6.0]]]))
    found = net.disagreement(*inputs(T, B))
    assert found.shape == (T, B)
    assert found.flatten().tolist() == pytest.approx([2.2307] * T * B, abs=1e-3)


def test_the_ensembles_loss_equals_a_slow_loop():
    # the state and the action that led to it predict the next z
    net = ensemble()
    features, action = inputs(T, B)
    z = torch.randn(T, B, Z, generator=generator(1))
    slow = 0.0
    for index in range(K):
        for t in range(T - 1):
            said = member(net, index, torch.cat((features[t], action[t]), -1))
            slow += 0.5 * (said - z[t + 1]).square().sum().item() / ((T - 1) * B)
    assert ensemble_loss(net, features, action, z).item() == pytest.approx(slow, rel=1e-5)


def test_the_ensemble_leaves_states_alone():
    features, action = inputs(T, B)
    z = torch.randn(T, B, Z, requires_grad=True)
    features.requires_grad_()
    net = ensemble()
    loss = ensemble_loss(net, features, action, z)
    loss.backward()
    assert features.grad is None and z.grad is None
    assert all(weight.grad.any() for weight in net.weights)


def test_the_ensemble_learns_from_a_model_update():
    model, net = world(settings()), ensemble()
    given = batch(SPACES["vector"])
    _, kept = model.loss(*given, noise_of(model))
    loss, parts = observed_loss(net, model.rssm, kept.observed, given.action)
    state = kept.observed.state
    direct = ensemble_loss(net, torch.cat(state, -1), given.action, state.z)
    assert loss.item() == direct.item() == parts["ensemble"].item()
    assert reached(loss, net) and not reached(loss, model)


def test_what_is_known_is_not_curious():
    net = ensemble()
    features, action = inputs(T, B)
    z = torch.randn(T, B, Z, generator=generator(1))
    before = net.disagreement(features[:-1], action[:-1]).mean()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        ensemble_loss(net, features, action, z).backward()
        optimiser.step()
    known = net.disagreement(features[:-1], action[:-1]).mean()
    other = net.disagreement(*inputs(T, B, seed=5)).mean()
    assert known < 0.3 * before and known < 0.3 * other


def test_an_exploration_reward_weighs_disagreement_and_predicted_reward():
    model, net = world(settings()), ensemble()
    actor = Actor(FEATURES, MOVES, SMALL, "none", generator())
    noise = draw_noise(imagine_noise(model.rssm, actor, H, 11), generator())
    state = State(torch.randn(11, Z), torch.randn(11, 17))
    begin = Starts(state, torch.zeros(11, dtype=torch.bool))
    imagined = imagine(model.rssm, [actor], begin, noise)
    found = exploration_reward(net, model, imagined, 0.9, 0.3)
    assert found.shape == (H, 11)
    for k in range(H):
        led = imagined.action[k - 1] if k else torch.zeros(11, A)
        slow = net(imagined.features[k], led).std(0, correction=0).mean(-1)
        torch.testing.assert_close(found[k], 0.9 * slow + 0.3 * model.reward(imagined.features[k]))


def test_an_episodes_disagreement_is_its_mean_over_its_own_steps():
    net = ensemble()
    features, action = inputs(T, B)
    length = torch.tensor([1, 4, 2])
    each = net.disagreement(features, action)
    found = episode_disagreement(net, features, action, length)
    slow = [each[: length[row], row].mean().item() for row in range(B)]
    assert found.tolist() == pytest.approx(slow)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_three_seeds_equal_three_ensembles(norm):
    nets = [ensemble(norm, seed) for seed in range(3)]
    data = [
        (*inputs(T, B, seed=seed), inputs(T, B, seed=9 + seed)[0][..., :Z]) for seed in range(3)
    ]

    def loss(net, features, action, z):
        return ensemble_loss(net, features, action, z), net.disagreement(features, action)

    run = seeds.on_tensors(loss, net=nets[0])
    tensors = [seeds.prefixed(net=dict(net.named_parameters())) for net in nets]
    whole = {key: torch.stack([tree[key].detach() for tree in tensors]) for key in tensors[0]}
    found, _, curious = seeds.gradients(run, 3, None)(
        whole, *(torch.stack(x) for x in zip(*data, strict=True))
    )
    for i, net in enumerate(nets):
        value, alone = loss(net, *data[i])
        torch.testing.assert_close(curious[i], alone)
        names, parameters = zip(*net.named_parameters(), strict=True)
        for name, grad in zip(names, torch.autograd.grad(value, parameters), strict=True):
            torch.testing.assert_close(found[f"net.{name}"][i], grad, rtol=1e-4, atol=1e-5)
