"""Worlds seen as pictures at the published size: counts of parameters, first losses, gradients."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from lib.algos.dreamer.behaviour import Actor, Critic
from lib.algos.dreamer.networks import count
from lib.algos.dreamer.run_settings import DreamerRun
from lib.algos.dreamer.world_model import WorldModel
from lib.core import config
from lib.core.noise import draw_noise
from lib.core.spaces import ActionSpace, ObsSpace
from lib.experiments import run_config
from tests.algos.dreamer.models import generator

IMAGES = ObsSpace("image", (64, 64, 3), torch.uint8)
ACTIONS = 6
PIXELS, PROTOTYPES, CONTRAST = "reconstruction", "prototypes", "contrast"
METHODS = {PIXELS: "dreamer", PROTOTYPES: "dreamer-pro", CONTRAST: "tpc"}


def run(objective: str, **own) -> DreamerRun:
    """The published sizes of dm_control; `own` are settings of the objective."""
    full = run_config.plain("dmc-full", METHODS[objective])
    return config.merge(full, {"representation": {objective: own}} if own else {})


def model_of(objective: str, **own) -> WorldModel:
    return WorldModel(IMAGES, ACTIONS, run(objective, **own), generator())


def parts_of(
    model: WorldModel,
    records: int,
    rows: int,
    average: WorldModel | None = None,
    alike: bool = False,
):
    """The first loss on random pictures, all different or all `alike`, and what was logged."""
    draws = generator(1)
    lead = (1, 1) if alike else (records, rows)
    obs = torch.randint(0, 256, (*lead, 64, 64, 3), generator=draws, dtype=torch.uint8)
    obs = obs.expand(records, rows, -1, -1, -1)
    action = torch.rand(records, rows, ACTIONS, generator=draws) * 2 - 1
    first = torch.zeros(records, rows, dtype=torch.bool)
    first[0] = True
    noise = draw_noise(model.loss_noise(records, rows), generator(2))
    given = (obs, action, torch.zeros(records, rows), first, torch.zeros_like(first), noise)
    total, kept = model.loss(*given, average=average)
    return total, {name: value.item() for name, value in kept.parts.items()}


# Source of the counts: section 8 of DreamerPro's specification, computed from the published code.


def test_parameters_are_as_many_as_published():
    models = {name: model_of(name) for name in (PIXELS, PROTOTYPES, CONTRAST)}
    assert {count(model.encoder) for model in models.values()} == {1_551_312}
    assert all(model.encoder.size == 1536 for model in models.values())
    assert count(models[PIXELS].rssm) == count(models[PROTOTYPES].rssm) == 662_928
    assert count(models[CONTRAST].rssm) == 616_496
    sizes = {name: round(count(model) / 1e6, 2) for name, model in models.items()}
    assert sizes == {PIXELS: 11.15, PROTOTYPES: 2.93, CONTRAST: 2.74}
    assert count(models[PIXELS].objective) == pytest.approx(8.36e6, rel=2e-3)
    assert all(
        count(model.reward_head) == pytest.approx(5.75e5, rel=2e-3) for model in models.values()
    )


def test_dreamer_1_has_as_many_parameters_as_published():
    # Source: section 9 of the specification of multi-source transfer, 6 actions.
    full = run_config.plain("dmc-full", "dreamer-v1")
    model = WorldModel(IMAGES, ACTIONS, full, generator())
    assert count(model.encoder) == 690_144 and count(model.objective.decoder) == 3_795_555
    assert count(model.rssm) == 557_920 and count(model.reward_head) == 253_201
    assert count(model) == 5_296_820
    forces = ActionSpace(ACTIONS, discrete=False)
    rest = model.rssm.features_size, full.network, full.latent.norm, generator()
    assert count(Critic(*rest)) == 413_601
    actor = Actor(rest[0], forces, *rest[1:])
    assert count(actor) == 578_412
    _, std = actor.moments(torch.zeros(2 * ACTIONS))
    torch.testing.assert_close(std, torch.full((ACTIONS,), 5.0001))  # as wide as it begins


def test_contrast_begins_at_the_logarithm_of_the_batch():
    # what is predicted says nothing of random pictures; alike, they cannot be told apart either
    _, parts = parts_of(model_of(CONTRAST), 4, 32)
    assert parts["temporal_term"] == pytest.approx(math.log(32), abs=0.25)
    _, parts = parts_of(model_of(CONTRAST), 4, 32, alike=True)
    assert parts["static_term"] == pytest.approx(math.log(32), abs=1e-3)
    assert parts["temporal_term"] == pytest.approx(math.log(32), abs=0.25)


def test_pixels_begin_at_half_their_squares_and_kl_at_its_clamp():
    total, parts = parts_of(model_of(PIXELS), 3, 4)
    # uniform bytes: sum of x^2 / 2 over 12,288 values is about 12,288 / 24
    assert parts["reconstruction"] == pytest.approx(12_288 / 24, rel=0.05)
    assert parts["kl"] < 1
    rest = parts["reconstruction"] + parts["reward"]
    assert total.item() - rest == pytest.approx(1.0, abs=1e-3)  # clamped at one nat


@pytest.mark.parametrize(
    ("prototypes", "records", "rows"),
    [(250, 11, 25), pytest.param(2500, 51, 50, marks=pytest.mark.slow)],
)
def test_prototypes_begin_near_an_even_guess(prototypes, records, rows):
    model = model_of(PROTOTYPES, count=prototypes)
    _, parts = parts_of(model, records, rows, average=copy.deepcopy(model))
    for name in ("swapped", "temporal"):
        above = parts[name] - math.log(prototypes)
        assert 0.3 < above < 3, f"{name} is {parts[name]}"


def test_no_gradient_reaches_what_gives_targets():
    model = model_of(PROTOTYPES, count=8)
    average = copy.deepcopy(model)
    total, _ = parts_of(model, 3, 4, average=average)
    total.backward()
    assert all(p.grad is None for p in average.parameters())
    own = model.objective
    assert own.prototypes.grad.any() and own.of_embed.weight.grad.any()
    assert own.of_features.weight.grad.any()
    assert all(p.grad is not None and p.grad.any() for p in model.encoder.parameters())


def test_the_spread_of_the_prior_takes_no_gradient_through_the_posterior():
    model = model_of(CONTRAST)
    rssm, latent = model.rssm, model.rssm.latent
    h = torch.randn(5, 200, generator=generator()).requires_grad_()
    embed = torch.randn(5, 1536, generator=generator(1)).requires_grad_()
    mean, std = latent.moments(rssm.posterior(h, embed))
    _, prior_std = latent.moments(rssm.prior(h))
    assert torch.equal(std, prior_std)
    (found,) = torch.autograd.grad(std.sum() + mean.sum(), h, allow_unused=True)
    assert found is None
    assert torch.autograd.grad(rssm.mean(embed).sum(), embed)[0].any()
    assert not torch.equal(mean, torch.zeros_like(mean))


def test_an_embedded_posterior_does_not_depend_on_the_past():
    model, draws = model_of(CONTRAST), generator(3)
    embed, noise = torch.randn(4, 2, 1536, generator=draws), torch.zeros(4, 2, 32)
    action, first = torch.rand(4, 2, ACTIONS, generator=draws), torch.zeros(4, 2, dtype=torch.bool)
    states = [
        model.rssm.infer(embed, a, first, noise, model.rssm.initial(2, like=a))[0]
        for a in (action, -action)
    ]
    assert torch.equal(states[0].z, states[1].z)
    assert not torch.allclose(states[0].h[1:], states[1].h[1:])


def test_views_are_shifted_alike_in_time_and_each_by_its_own():
    model = model_of(PROTOTYPES, count=8)
    picture = torch.randint(0, 256, (1, 1, 64, 64, 3), generator=generator(), dtype=torch.uint8)
    noise = {"shift": torch.tensor([[0.5, 0.5], [1.0, 0.5]])}  # none, and three pixels to the left
    seen = model.objective.augment(picture.expand(3, 2, -1, -1, -1), noise)
    assert seen.dtype == torch.uint8
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])
    assert torch.equal(seen[0, 0], picture[0, 0])
    assert torch.equal(seen[0, 1, :, :-3], picture[0, 0, :, 3:])


def test_assignments_rest_on_directions_alone():
    model = model_of(PROTOTYPES, count=8)
    projected = torch.randn(3, 4, 32, generator=generator())
    scores = model.objective._by_view(projected)
    longer = model.objective._by_view(7 * projected)
    for one, other in zip(scores, longer, strict=True):
        torch.testing.assert_close(one, other)
        assert one.shape == (8, 2 * 2) and one.abs().max() <= 1 + 1e-5
    lengths = model.objective.prototypes.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(8))
    assert F.normalize(model.objective.prototypes, dim=-1).shape == (8, 32)
