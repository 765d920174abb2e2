"""Low-rank changes of queries, values and the perceptron's first layer: LoRA.

Shapes: L layers, D width, R rank, B rows, K tokens.

Source: Hu et al. 2022; sizes and places as in L2M's release, whose change of the perceptron reads
the 4 D numbers that its first layer puts out, and adds to them before the activation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.algos.decision_transformer.rows import Pick
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.algos.decision_transformer.transformer import Adapter
from lib.core.config import at_least, one_of

PLACES = {"q": 1, "v": 1, "mlp": 4}  # to how many times D they are wide
BLOCKS = sum(PLACES.values())  # (D, R) blocks that the published code keeps in one tensor


@dataclass(frozen=True)
class LowRankConfig:
    """A set of low-rank changes."""

    rank: int = at_least(1, 8)
    alpha: float = at_least(0, 16.0)  # what is added is scaled by alpha over the rank
    # original: within 1 / sqrt of all numbers but the first axis' of the published code's one
    # tensor, 7 or 17 times less than LoRA's own, within 1 / sqrt of what a matrix reads.
    init: str = one_of("original", "standard")

    @property
    def scale(self) -> float:
        """What changes are multiplied by."""
        return self.alpha / self.rank


class LowRank(nn.Module):
    """One set: two factors for each place, the first random and the second 0, so no change yet.

    Args:
        cfg: settings. model: sizes.
        pooled: it is one of many that the published code keeps in one tensor (original init).
    """

    def __init__(
        self, cfg: LowRankConfig, model: ModelConfig, generator: torch.Generator, pooled: bool
    ):
        super().__init__()
        layers, width, rank = model.layers, model.width, cfg.rank
        for place, times in PLACES.items():
            inputs = times * width
            counted = BLOCKS * width * rank * (layers if pooled else 1)
            bound = (counted if cfg.init == "original" else inputs) ** -0.5
            first = torch.empty(layers, inputs, rank).uniform_(-bound, bound, generator=generator)
            self.register_parameter(f"{place}_a", nn.Parameter(first))
            self.register_parameter(f"{place}_b", nn.Parameter(torch.zeros(layers, rank, inputs)))

    def tensors(self) -> dict[str, Tensor]:
        """Returns the factors by name, each (L, ., .)."""
        return dict(self.named_parameters())


class LowRankChange(Adapter):
    """Adds the product of two factors to what a place comes to.

    Args:
        pick: factors; see `lib.algos.decision_transformer.rows`.
    """

    def __init__(self, pick: Pick, scale: float):
        self.pick, self.scale = pick, scale

    def change(self, place: str, layer: int, read: Tensor, out: Tensor) -> Tensor:
        if place not in PLACES:
            return out
        read = out if place == "mlp" else read
        first, second = (self.pick(f"{place}_{part}", layer) for part in "ab")
        return out + low_rank(read, first, second, self.scale)


def low_rank(x: Tensor, first: Tensor, second: Tensor, scale: float) -> Tensor:
    """Returns what a product of two thin matrices adds, (..., K, O).

    Args:
        x: (..., K, I). first: (..., I, R). second: (..., R, O).
        scale: alpha over the rank R.

    Source: Hu et al. 2022, section 4.1.
    """
    return scale * (x @ first @ second)
