import pytest
import torch

from lib.algos.dreamer.latents import Categorical, Gaussian, build_latent
from lib.algos.dreamer.settings import LatentConfig
from lib.core.noise import NoiseSpec, draw_noise

T, B, V, C = 5, 3, 2, 7
KINDS = [Categorical(V, C), Gaussian(V, 0.1)]


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("latent", KINDS, ids=["categorical", "gaussian"])
def test_both_kinds_offer_the_same_functions_and_shapes(latent, draws):
    q, p = (torch.randn(T, B, latent.parameters, generator=draws) for _ in range(2))
    noise = draw_noise({"noise": latent.noise(T, B)}, draws)["noise"]
    assert latent.sample(q, noise).shape == latent.mode(q).shape == (T, B, latent.size)
    assert latent.kl(q, p).shape == latent.entropy(q).shape == (T, B)
    assert (latent.kl(q, p) > 0).all() and latent.kl(q, q).abs().max() < 1e-6


@pytest.mark.parametrize("latent", KINDS, ids=["categorical", "gaussian"])
def test_samples_let_gradients_through(latent, draws):
    stats = torch.randn(B, latent.parameters, generator=draws, requires_grad=True)
    noise = draw_noise({"noise": latent.noise(B)}, draws)["noise"]
    sample = latent.sample(stats, noise)
    (sample * torch.randn(sample.shape, generator=draws)).sum().backward()
    assert stats.grad.abs().sum(0).all()  # every statistic matters


def test_sizes_and_noise_by_hand():
    categorical, gaussian = KINDS
    assert (categorical.size, categorical.parameters) == (14, 14)
    assert categorical.noise(5, 3) == NoiseSpec("uniform", (5, 3, 2))
    assert (gaussian.size, gaussian.parameters) == (2, 4)
    assert gaussian.noise(5, 3) == NoiseSpec("normal", (5, 3, 2))


def test_every_variable_of_a_categorical_sample_is_one_hot(draws):
    latent = KINDS[0]
    stats = torch.randn(T, B, latent.parameters, generator=draws)
    sample = latent.sample(stats, torch.rand(T, B, V, generator=draws)).unflatten(-1, (V, C))
    assert ((sample == 0) | (sample == 1)).all() and (sample.sum(-1) == 1).all()


def test_categorical_samples_follow_their_probabilities(draws):
    # logits log(1, 2, 5): shares 1/8, 2/8, 5/8
    latent, n = Categorical(1, 3), 20_011
    stats = torch.log(torch.tensor([1.0, 2.0, 5.0])).expand(n, 3)
    share = latent.sample(stats, torch.rand(n, 1, generator=draws)).mean(0)
    assert share.tolist() == pytest.approx([0.125, 0.25, 0.625], abs=0.01)
    assert latent.mode(stats)[0].tolist() == [0.0, 0.0, 1.0]


def test_the_entropy_of_even_classes_is_the_logarithm_of_their_number():
    # 2 variables of 7 even classes: 2 log 7 = 3.892
    assert KINDS[0].entropy(torch.zeros(V * C)).item() == pytest.approx(3.8918, abs=1e-4)


def test_a_gaussians_moments_by_hand():
    # raw 0: 2 sigmoid(0) + 0.1 = 1.1; raw far below: the floor, 0.1
    latent = Gaussian(2, 0.1)
    stats = torch.tensor([3.0, 4.0, 0.0, -100.0])
    mean, std = latent.moments(stats)
    assert mean.tolist() == [3.0, 4.0] and std.tolist() == pytest.approx([1.1, 0.1])
    sample = latent.sample(stats, torch.tensor([2.0, -1.0]))
    assert sample.tolist() == pytest.approx([5.2, 3.9])


@pytest.mark.parametrize("latent", KINDS, ids=["categorical", "gaussian"])
def test_half_precision_statistics_are_computed_in_single(latent, draws):
    stats = torch.randn(B, latent.parameters, generator=draws).bfloat16()
    noise = draw_noise({"noise": latent.noise(B)}, draws)["noise"]
    results = latent.sample(stats, noise), latent.kl(stats, stats), latent.entropy(stats)
    assert all(found.dtype == torch.float32 for found in results)


def test_the_settings_choose_the_kind():
    cfg = LatentConfig(kind="gaussian", variables=30, min_std=0.2)
    assert build_latent(cfg) == Gaussian(30, 0.2)
    assert build_latent(LatentConfig(variables=8, classes=9)) == Categorical(8, 9)
