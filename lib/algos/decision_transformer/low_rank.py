"""Low-rank changes of queries, values and the perceptron's first layer: LoRA.

Shapes: M sets, L layers, D width, R rank, B rows, K tokens.

Source: Hu et al. 2022; sizes and places as in L2M's release, whose change of the perceptron reads
the 4 D numbers that its first layer puts out, and adds to them before the activation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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


def adapter(tensors: Mapping[str, Tensor], scale: float) -> Adapter:
    """Returns the change that one set makes to every row.

    Args:
        tensors: (L, ., .) each; see `LowRank.tensors`.
    """

    def change(place: str, layer: int, x: Tensor) -> Tensor:
        return scale * (x @ tensors[f"{place}_a"][layer] @ tensors[f"{place}_b"][layer])

    return change


def adapter_by_row(sets: Sequence[Mapping[str, Tensor]], index: Tensor, scale: float) -> Adapter:
    """Returns the change that makes every row by a set of its own.

    Only sets that a row has are read, so that the others get no gradient at all: an optimiser with
    momentum would go on moving them along one of 0.

    Args:
        index: (B,) which of the sets each row has.
    """
    used, row = index.unique(return_inverse=True)
    chosen = [sets[int(i)] for i in used]
    if len(chosen) == 1:
        return adapter(chosen[0], scale)
    stacked = {name: torch.stack([one[name] for one in chosen], 1) for name in chosen[0]}

    def change(place: str, layer: int, x: Tensor) -> Tensor:
        first, second = (stacked[f"{place}_{part}"][layer][row] for part in "ab")  # (B, ., .)
        return scale * torch.bmm(torch.bmm(x, first), second)

    return change
