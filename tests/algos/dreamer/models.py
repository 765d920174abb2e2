"""Small models and batches whose sizes cannot be mistaken for each other."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib.algos.dreamer.run_settings import DreamerRun
from lib.algos.dreamer.settings import LatentConfig, NetworkConfig, ObjectiveConfig
from lib.algos.dreamer.world_model import WorldModel
from lib.core.noise import draw_noise
from lib.core.spaces import ActionSpace, ObsSpace

T, B, A, H = 5, 3, 7, 4  # records, sequences, action size, imagined steps
DEPTH = 2  # of convolutions

SPACES = {
    "vector": ObsSpace("vector", (11,)),
    "symbols": ObsSpace("symbols", (2, 3, 2), torch.uint8, (5, 4)),
    "image": ObsSpace("image", (64, 64, 3), torch.uint8),
}
MOVES = ActionSpace(A, discrete=True)
FORCES = ActionSpace(A, discrete=False)


class Batch(NamedTuple):
    obs: Tensor
    action: Tensor
    reward: Tensor
    first: Tensor
    terminal: Tensor


def settings(kind: str = "categorical", norm: str = "none", **objective: Any) -> DreamerRun:
    """Z is 2 variables of 5 classes or 13 numbers, D is 17."""
    variables = {"categorical": 2, "gaussian": 13}[kind]
    return DreamerRun(
        latent=LatentConfig(
            kind=kind, variables=variables, classes=5, deter=17, hidden=19, norm=norm
        ),
        network=NetworkConfig(
            depth=DEPTH, code_width=23, code_layers=2, head_width=29, head_layers=2
        ),
        objective=replace(ObjectiveConfig(), **objective),
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def observations(space: ObsSpace, *lead: int, seed: int = 0) -> Tensor:
    """(*lead, *shape) random ones."""
    draws = generator(seed)
    if space.kind == "vector":
        return torch.randn(*lead, *space.shape, generator=draws)
    if space.kind == "image":
        shape = (*lead, *space.shape)
        return torch.randint(0, 256, shape, generator=draws, dtype=torch.uint8)
    shape = (*lead, *space.shape[:-1])
    planes = [torch.randint(0, n, shape, generator=draws) for n in space.classes]
    return torch.stack(planes, -1).to(space.dtype)


def batch(space: ObsSpace, seed: int = 0) -> Batch:
    """Sequences with resets at their beginning and once inside."""
    draws = generator(seed)
    first = torch.zeros(T, B, dtype=torch.bool)
    first[0] = first[3, 1] = True
    terminal = torch.zeros(T, B, dtype=torch.bool)
    terminal[2, 1] = True
    action = torch.eye(A)[torch.randint(0, A, (T, B), generator=draws)]
    reward = torch.randn(T, B, generator=draws)
    return Batch(observations(space, T, B, seed=seed), action, reward, first, terminal)


def world(cfg: DreamerRun, space: ObsSpace = SPACES["vector"], seed: int = 0) -> WorldModel:
    return WorldModel(space, A, cfg, generator(seed))


def noise_of(model: WorldModel, seed: int = 0) -> dict[str, Tensor]:
    return draw_noise(model.loss_noise(T, B), generator(seed))


def reached(loss: Tensor, module: torch.nn.Module) -> bool:
    """Whether the gradient of a scalar reaches any parameter."""
    names = list(module.parameters())
    found = torch.autograd.grad(loss, names, allow_unused=True, retain_graph=True)
    return any(grad is not None and bool(grad.abs().sum() > 0) for grad in found)
