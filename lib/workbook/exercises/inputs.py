"""Makes random inputs that exercises share."""

import torch
from torch import Generator, Tensor

H, B = 5, 3  # steps and windows


def normal(generator: Generator, *shape: int) -> Tensor:
    """Returns standard normal numbers."""
    return torch.randn(shape, generator=generator)
