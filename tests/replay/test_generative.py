import pytest
import torch

from lib.algos.tdmpc.protections.rehearsal import vae_loss
from lib.engine import optim
from lib.replay.generative import Vae

D, WIDTH, CODE, B = 5, 17, 7, 13


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def normal(draws: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=draws)


def test_the_vae_has_the_published_layers(draws):
    # MiniGrid: 6 -> 64 -> 64 -> 128 and 64 -> 64 -> 64 -> 6
    vae = Vae(6, 64, 64, draws)
    shapes = [tuple(p.shape) for p in vae.parameters() if p.ndim == 2]
    assert shapes == [(64, 6), (64, 64), (128, 64), (64, 64), (64, 64), (6, 64)]


@pytest.mark.parametrize(
    ("inputs", "width", "millions"),
    [(3 + 3, 64, 0.02), (17 + 6, 256, 0.19), (24 + 6, 256, 0.20)],
    ids=["minigrid", "cheetah", "walker"],
)
def test_the_vae_has_as_many_parameters_as_published(inputs, width, millions, draws):
    count = sum(p.numel() for p in Vae(inputs, width, 64, draws).parameters())
    assert round(count / 1e6, 2) == millions


def test_shapes_of_reconstruction_code_and_samples(draws):
    vae = Vae(D, WIDTH, CODE, draws)
    back, mean, log_var = vae(normal(draws, B, D), normal(draws, B, CODE))
    assert back.shape == (B, D) and mean.shape == log_var.shape == (B, CODE)
    sample = vae.sample(B, draws)
    assert sample.shape == (B, D) and not sample.requires_grad


def test_the_code_is_drawn_around_its_mean(draws):
    # a decoder that passes its code on: the reconstruction is mean + exp(log_var / 2) noise
    vae = Vae(D, WIDTH, CODE, draws)
    vae.decoder = torch.nn.Identity()
    with torch.no_grad():
        vae.encoder[-1].weight.zero_()
        vae.encoder[-1].bias.copy_(torch.tensor([2.0] * CODE + [-1.0] * CODE))
    code = vae(torch.zeros(20_011, D), normal(draws, 20_011, CODE))[0]
    assert code.mean().item() == pytest.approx(2.0, abs=0.01)
    assert code.std().item() == pytest.approx(2.718281828 ** (-0.5), rel=0.01)


def test_both_halves_receive_gradients(draws):
    vae = Vae(D, WIDTH, CODE, draws)
    back, mean, log_var = vae(normal(draws, B, D), normal(draws, B, CODE))
    (back.square().mean() + mean.mean() + log_var.mean()).backward()
    assert all(p.grad is not None and p.grad.any() for p in vae.parameters())


def test_samples_follow_the_generator(draws):
    vae = Vae(D, WIDTH, CODE, draws)
    one, two = (vae.sample(B, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, two)


def test_the_vae_reproduces_a_two_cluster_buffer(draws):
    # a quarter of the data near (1, 1, ...), the rest near (-1, -1, ...)
    def data(n: int) -> torch.Tensor:
        side = 1 - 2 * (torch.rand(n, 1, generator=draws) < 0.75).float()
        return side + 0.05 * normal(draws, n, D)

    vae = Vae(D, 32, 5, draws)
    adam = optim.adam(vae.parameters(), 1e-2)
    for _ in range(250):
        loss, parts = vae_loss(vae, data(64), normal(draws, 64, 5), beta=0.2)
        loss.backward()
        adam.step()
        adam.zero_grad()
    assert parts["reconstruction"] < 0.1
    sample = vae.sample(2003, draws)
    near = torch.stack([(sample - centre).abs().amax(1) < 0.4 for centre in (1.0, -1.0)], 1)
    assert near.any(1).float().mean() > 0.6  # the rest lies on the way between the two
    assert 0.1 < (sample.mean(1) > 0).float().mean() < 0.3
