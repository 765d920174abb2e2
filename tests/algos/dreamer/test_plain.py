"""Networks, latents and policies against their formulas, which the plain update is built from.

That the fast update equals the plain one is in `test_equality`.
"""

import pytest
import torch

from lib.algos.dreamer.behaviour import Actor
from lib.algos.dreamer.exploration.plan2explore import Ensemble, ensemble_loss
from lib.algos.dreamer.latents import build_latent
from lib.algos.dreamer.rssm import State
from lib.core.noise import draw_noise
from tests.algos.dreamer.models import (
    FORCES,
    MOVES,
    SPACES,
    A,
    B,
    T,
    generator,
    observations,
    settings,
    world,
)
from tests.oracle import dreamer_formulas as formulas

F = 27  # features: 2 variables of 5 classes, or 13 numbers, and 17


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def moved(module: torch.nn.Module) -> None:
    """Moves biases and norms off their start, which would hide mistakes."""
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(i)))


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("kind", SPACES)
def test_encoders_and_decoders_equal_their_formulas(kind, norm):
    space, model = SPACES[kind], world(settings(norm=norm), SPACES[kind])
    moved(model)
    obs, features = observations(space, B), torch.randn(B, F, generator=generator())
    close(model.encoder(obs), formulas.encode(model.encoder, obs, space))
    decoder = model.objective.decoder
    close(decoder.loss(features, obs), formulas.unlikely(decoder, features, obs, space))


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_a_readable_step_equals_its_formulas(kind, norm):
    cfg = settings(kind, norm)
    model = world(cfg)
    moved(model)
    rssm, draws = model.rssm, generator(3)
    state = State(*(torch.randn(B, n, generator=draws) for n in (rssm.latent.size, rssm.deter)))
    action, embed = torch.randn(B, A, generator=draws), torch.randn(B, 23, generator=draws)
    noise = draw_noise({"z": rssm.latent.noise(B)}, draws)["z"]
    h = formulas.advance(rssm, state, action)
    for seen, wanted in (
        (None, formulas.expect(rssm, h)),
        (embed, formulas.believe(rssm, h, embed)),
    ):
        found, stats = rssm.step(state, action, noise, seen)
        close(found.h, h)
        close(stats, wanted)
        close(found.z, formulas.sample(wanted, noise, cfg.latent))


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_latents_equal_their_formulas(kind):
    cfg = settings(kind).latent
    latent, draws = build_latent(cfg), generator()
    q, p = (torch.randn(T, B, latent.parameters, generator=draws) for _ in range(2))
    noise = draw_noise({"z": latent.noise(T, B)}, draws)["z"]
    close(latent.sample(q, noise), formulas.sample(q, noise, cfg))
    close(latent.kl(q, p), formulas.kl(q, p, cfg))
    close(latent.entropy(q), formulas.entropy(q, cfg))


@pytest.mark.parametrize("actions", [MOVES, FORCES], ids=["discrete", "continuous"])
def test_policies_equal_their_formulas(actions):
    actor = Actor(F, actions, settings().network, "none", generator())
    moved(actor)
    features = torch.randn(B, F, generator=generator(1))
    noise = draw_noise({"action": actor.noise(B)}, generator(2))["action"]
    stats = actor(features)
    action = formulas.act(actor, features, noise)
    close(actor.sample(stats, noise), action)
    close(actor.mode(stats), formulas.best(actor, features))
    log_prob, entropy = formulas.surprise(actor, features, action, noise)
    close(actor.log_prob(stats, action), log_prob)
    close(actor.entropy(stats, noise), entropy)


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_heads_equal_their_formulas(kind):
    model = world(settings(kind))
    moved(model)
    features = torch.randn(B, model.rssm.features_size, generator=generator())
    close(model.reward(features), formulas.mean_reward(model, features))
    close(model.discounts(features), formulas.mean_discount(model, features, 0.99))


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_ensembles_equal_their_formulas(norm):
    net, draws = Ensemble(F, A, 10, 3, settings().network, norm, generator()), generator(1)
    moved(net)
    z, h, action = (torch.randn(T, B, n, generator=draws) for n in (10, 17, A))
    states = [State(*pair) for pair in zip(z, h, strict=True)]
    found = ensemble_loss(net, torch.cat((z, h), -1), action, z)
    close(found, formulas.ensemble_loss(net, states, action))
    read = torch.cat(states[0], -1)
    close(net.disagreement(read, action[0]), formulas.disagreement(net, read, action[0]))
