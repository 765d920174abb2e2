"""Random numbers as explicit inputs: a computation declares them, and they are drawn outside it.

Losses and searches take their noise as an argument, so they are pure functions, several seeds draw
what each would draw alone, and a recorded CUDA graph finds new numbers where the old ones were.

Shapes: S seeds lead.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class NoiseSpec(NamedTuple):
    """The kind and shape of random numbers that one seed needs at once."""

    kind: Literal["uniform", "normal"]
    shape: tuple[int, ...]


NoiseLayout = Mapping[str, NoiseSpec]


class NoiseBuffers:
    """Holds random numbers of S seeds in two blocks, refilled in place by two calls per seed.

    Blocks keep their address, so a recorded graph finds the new numbers where the old ones were. A
    seed gets what it would get alone, from its own generator.
    """

    def __init__(self, layout: NoiseLayout, seeds: int, device: torch.device | str):
        self.views: dict[str, Tensor] = {}
        self.blocks: dict[str, Tensor] = {}
        for kind in ("uniform", "normal"):
            wanted = {name: draw.shape for name, draw in layout.items() if draw.kind == kind}
            sizes = [math.prod(shape) for shape in wanted.values()]
            block = self.blocks[kind] = torch.zeros(seeds, sum(sizes), device=device)
            for (name, shape), part in zip(wanted.items(), block.split(sizes, 1), strict=True):
                self.views[name] = part.view(seeds, *shape)

    def refill(self, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """Draws new numbers, one generator per seed; returns (S, *shape) by name."""
        for seed, generator in enumerate(generators):
            self.blocks["uniform"][seed].uniform_(generator=generator)
            self.blocks["normal"][seed].normal_(generator=generator)
        return self.views


def draw_noise(layout: NoiseLayout, generator: torch.Generator) -> dict[str, Tensor]:
    """Draws the numbers of a layout for a single seed, without the leading S."""
    draws = NoiseBuffers(layout, 1, generator.device)
    return {name: value.squeeze(0) for name, value in draws.refill([generator]).items()}
