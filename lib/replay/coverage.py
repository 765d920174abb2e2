"""Embeds the pictures of an episode as the last cell state of a random recurrent network.

Letters: E episodes, T+1 records, G = 16 pixels a side, C = 64 filters, F = C G G numbers.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.core.errors import UserError

SIDE = 16  # pixels a side that images are reduced to
FILTERS = 64
BLOCK = 32  # records whose images are made at once, for memory's sake


def hard_sigmoid(x: Tensor) -> Tensor:
    """Computes Keras' clip(0.2 x + 0.5, 0, 1); PyTorch's own has slope 1/6."""
    return (0.2 * x + 0.5).clamp(0.0, 1.0)


def shrink(images: Tensor) -> Tensor:
    """Reduces (..., height, width, 3) uint8 to (N, 3, G, G) in [0, 1], by the mean of each area."""
    flat = images.flatten(0, -4).movedim(-1, 1)  # (N, 3, height, width)
    return F.adaptive_avg_pool2d(flat.float() / 255, SIDE)


class EpisodeEmbedding(nn.Module):
    """A fixed random convolutional LSTM that reads the pictures of whole episodes.

    64 filters of 3x3 with zero padding, gates i, f, c, o with hard sigmoids, ELU elsewhere. As
    Keras begins: Glorot-uniform kernel, orthogonal recurrent kernel, biases 0 but 1 at the forget
    gate. Never trained. An embedding takes 64 KiB and about 8 GFLOP per 100 records.

    Args:
        to_images: stored observations (..., *shape) to pictures (..., height, width, 3) uint8.
        generator: of the weights, on the CPU so that every device starts alike.

    Source: Continual-Dreamer, coverage maximisation. Differs: pictures are reduced to 16x16,
    which makes an embedding 16 times smaller.
    """

    def __init__(self, to_images: Callable[[Tensor], Tensor], generator: torch.Generator):
        super().__init__()
        self.to_images = to_images
        kernel = torch.empty(4 * FILTERS, 3, 3, 3)
        bound = math.sqrt(6 / (9 * 3 + 9 * 4 * FILTERS))
        self.register_buffer("kernel", kernel.uniform_(-bound, bound, generator=generator))
        recurrent = torch.empty(4 * FILTERS, FILTERS, 3, 3)
        self.register_buffer("recurrent", nn.init.orthogonal_(recurrent, generator=generator))
        bias = torch.zeros(4, FILTERS)
        bias[1] = 1.0
        self.register_buffer("bias", bias.flatten())

    @torch.no_grad()
    def forward(self, obs: Tensor, length: list[int]) -> Tensor:
        """Embeds (E, T+1, *shape) and each episode's steps as (E, F) of Euclidean length 1."""
        hidden = self.kernel.new_zeros(len(obs), FILTERS, SIDE, SIDE)
        cell = hidden
        end = torch.tensor(length, device=obs.device).view(-1, 1, 1, 1)
        for begin in range(0, max(length) + 1, BLOCK):
            block = obs[:, begin : min(begin + BLOCK, max(length) + 1)]
            pictures = shrink(self.to_images(block))
            inputs = F.conv2d(pictures, self.kernel, self.bias, padding=1)
            for step, x in enumerate(inputs.unflatten(0, block.shape[:2]).unbind(1), begin):
                gates = x + F.conv2d(hidden, self.recurrent, padding=1)
                enter, keep, new, out = gates.chunk(4, dim=1)
                after = hard_sigmoid(keep) * cell + hard_sigmoid(enter) * F.elu(new)
                # Episodes that have ended keep their last state.
                cell = torch.where(step <= end, after, cell)
                hidden = hard_sigmoid(out) * F.elu(after)
        return F.normalize(cell.flatten(1), dim=1)


def embedding(
    shape: Sequence[int],
    dtype: torch.dtype,
    to_images: Callable[[Tensor], Tensor] | None,
    generator: torch.Generator | None,
) -> EpisodeEmbedding:
    """Makes the embedding of episodes with stored observations (..., *shape) of that dtype.

    Args:
        to_images: see `EpisodeEmbedding`; None where observations are pictures already.

    Raises:
        UserError: they are none, and nobody can draw them.
    """
    if to_images is None and not (len(shape) == 3 and shape[-1] == 3 and dtype == torch.uint8):
        raise UserError(
            f"retention 'coverage' compares pictures, but an observation is {tuple(shape)} numbers "
            "that nobody can draw; choose another replay.retention"
        )
    if generator is None:
        raise ValueError("coverage draws random weights and needs a generator for them")
    return EpisodeEmbedding(to_images or (lambda obs: obs), generator)
