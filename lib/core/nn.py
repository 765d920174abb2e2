"""Networks: multilayer perceptrons with the initialisation that TD-MPC uses.

Shapes: B rows, I inputs, O outputs, M members of an ensemble.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CReLU(nn.Module):
    """Concatenates ReLU(x) and ReLU(-x), so its output is twice as wide as its input.

    Source: Shang et al. 2016; kept alive by units that never die, which helps plasticity.
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((F.relu(x), F.relu(-x)), dim=-1)


class Mlp(nn.Sequential):
    """Layers that compute in the precision of their weights and answer in that of the input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self[0].weight.dtype)).to(x.dtype)


def orthogonal_(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Sets orthogonal weights with gain 1 and zero biases in every linear layer, in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
    return module


def mlp(
    inputs: int,
    width: int,
    outputs: int,
    generator: torch.Generator,
    *,
    crelu: bool = False,
    zero_last: bool = False,
) -> Mlp:
    """Makes three linear layers with ELU between, or CReLU, which doubles the next inputs."""
    wide = 2 * width if crelu else width
    act = CReLU if crelu else nn.ELU
    network = Mlp(
        nn.Linear(inputs, width), act(), nn.Linear(wide, width), act(), nn.Linear(wide, outputs)
    )
    orthogonal_(network, generator)
    if zero_last:
        nn.init.zeros_(network[-1].weight)
    return network


class TwinQ(nn.Module):
    """Two critics evaluated as one batched matrix product per layer.

    Each is Linear, LayerNorm, tanh, Linear, ELU, Linear(1), as in TD-MPC; the last layer starts
    at zero. `forward` maps (B, I) to (2, B).
    """

    def __init__(self, inputs: int, width: int, generator: torch.Generator):
        super().__init__()
        members = [mlp(inputs, width, 1, generator, zero_last=True) for _ in range(2)]
        layers = [[member[i] for member in members] for i in (0, 2, 4)]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.stack([m.weight.detach().T for m in layer])) for layer in layers
        )  # each (2, in, out)
        self.biases = nn.ParameterList(
            nn.Parameter(torch.stack([m.bias.detach()[None] for m in layer])) for layer in layers
        )  # each (2, 1, out)
        self.scale = nn.Parameter(torch.ones(2, 1, width))
        self.shift = nn.Parameter(torch.zeros(2, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        kept, x = x.dtype, x.to(self.weights[0].dtype)
        h = torch.baddbmm(self.biases[0], x.expand(2, *x.shape), self.weights[0])  # (2, B, width)
        h = F.layer_norm(h, h.shape[-1:]) * self.scale + self.shift
        h = F.elu(torch.baddbmm(self.biases[1], torch.tanh(h), self.weights[1]))
        return torch.baddbmm(self.biases[2], h, self.weights[2]).squeeze(-1).to(kept)  # (2, B)


def parameter_bytes(*modules: nn.Module) -> int:
    """Counts the bytes that the modules' parameters take."""
    return sum(p.numel() * p.element_size() for m in modules for p in m.parameters())


def framework_default_(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Initialises linear layers as PyTorch does, in place, but from a given generator."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return module
