import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.core.nn import CReLU, TwinQ, framework_default_, mlp, orthogonal_, parameter_bytes

B, IN, WIDTH, OUT = 7, 5, 11, 3


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_crelu_keeps_both_signs():
    assert CReLU()(torch.tensor([[2.0, -3.0]])).tolist() == [[2.0, 0.0, 0.0, 3.0]]


def test_an_mlp_has_three_linear_layers_with_elu(draws):
    net = mlp(IN, WIDTH, OUT, draws)
    assert [type(layer) for layer in net] == [nn.Linear, nn.ELU, nn.Linear, nn.ELU, nn.Linear]
    assert net(torch.zeros(B, IN)).shape == (B, OUT)
    # 5*11+11 + 11*11+11 + 11*3+3 = 66 + 132 + 36
    assert sum(p.numel() for p in net.parameters()) == 234


def test_crelu_doubles_what_the_next_layers_read(draws):
    net = mlp(IN, WIDTH, OUT, draws, crelu=True)
    assert [net[i].in_features for i in (0, 2, 4)] == [IN, 2 * WIDTH, 2 * WIDTH]
    assert [net[i].out_features for i in (0, 2, 4)] == [WIDTH, WIDTH, OUT]


def test_weights_are_orthogonal_with_gain_one_and_biases_zero(draws):
    net = orthogonal_(nn.Sequential(nn.Linear(IN, WIDTH), nn.Linear(WIDTH, OUT)), draws)
    columns, rows = net[0].weight, net[1].weight  # (11, 5): columns; (3, 11): rows
    assert torch.allclose(columns.T @ columns, torch.eye(IN), atol=1e-5)
    assert torch.allclose(rows @ rows.T, torch.eye(OUT), atol=1e-5)
    assert not net[0].bias.any() and not net[1].bias.any()


def test_a_zeroed_last_layer_predicts_zero(draws):
    assert not mlp(IN, WIDTH, OUT, draws, zero_last=True)(torch.ones(B, IN)).any()


def test_the_framework_default_is_pytorchs_own_range(draws):
    # PyTorch draws weights and biases of Linear within 1 / sqrt(inputs)
    layer = framework_default_(nn.Linear(100, 997), draws)
    for part in (layer.weight, layer.bias):
        assert part.abs().max() <= 0.1 and part.abs().max() > 0.099
        assert part.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.1)


def test_networks_of_one_seed_are_alike():
    one, other = (mlp(IN, WIDTH, OUT, torch.Generator().manual_seed(4)) for _ in range(2))
    twins = [TwinQ(IN, WIDTH, torch.Generator().manual_seed(4)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*(t.parameters() for t in twins), strict=True))


def filled(twin: TwinQ, draws: torch.Generator) -> TwinQ:
    with torch.no_grad():
        for p in twin.parameters():
            p.copy_(torch.randn(p.shape, generator=draws))
    return twin


def test_twin_critics_equal_two_networks_evaluated_one_by_one(draws):
    twin, x = filled(TwinQ(IN, WIDTH, draws), draws), torch.randn(B, IN, generator=draws)
    for member in range(2):
        w, b = [p[member] for p in twin.weights], [p[member] for p in twin.biases]
        h = F.layer_norm(x @ w[0] + b[0], (WIDTH,), twin.scale[member, 0], twin.shift[member, 0])
        h = F.elu(torch.tanh(h) @ w[1] + b[1])
        assert torch.allclose(twin(x)[member], (h @ w[2] + b[2])[:, 0], atol=1e-4)


def test_twin_critics_start_different_and_at_zero(draws):
    twin = TwinQ(IN, WIDTH, draws)
    assert not twin(torch.ones(B, IN)).any()
    assert not torch.equal(twin.weights[0][0], twin.weights[0][1])
    # each layer's matrix is orthogonal in its own right
    w = twin.weights[1][0]
    assert torch.allclose(w @ w.T, torch.eye(WIDTH), atol=1e-5)


def test_a_critic_has_the_parameters_of_its_layers(draws):
    # 5*11+11 linear, 2*11 norm, 11*11+11 linear, 11+1 linear = 66 + 22 + 132 + 12, twice
    assert sum(p.numel() for p in TwinQ(IN, WIDTH, draws).parameters()) == 2 * 232


def test_bytes_are_four_per_parameter(draws):
    assert parameter_bytes(nn.Linear(3, 2), nn.Linear(2, 1)) == 4 * (8 + 3)
