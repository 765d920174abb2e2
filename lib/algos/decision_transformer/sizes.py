"""How large a sequence model is, and what that takes of memory.

The defaults are the published model's, "40M". Source: L2M's release (ml-jku/L2M).
"""

from dataclasses import dataclass

from lib.core.config import at_least, one_of, within

SIZES: dict[str, dict[str, int]] = {
    # The published sizes, by name. Source: as above.
    "tiny": {"layers": 1, "heads": 2, "width": 128},
    "small": {"layers": 3, "heads": 4, "width": 256},
    "medium": {"layers": 4, "heads": 8, "width": 512},
    "medium-plus": {"layers": 6, "heads": 12, "width": 768},
    "large": {"layers": 8, "heads": 12, "width": 768},
    "large-plus": {"layers": 8, "heads": 16, "width": 1024},
    "huge": {"layers": 10, "heads": 20, "width": 1280},
    "huge-plus": {"layers": 24, "heads": 16, "width": 1024},
}


@dataclass(frozen=True)
class ModelConfig:
    """The transformer, and what its tokens can hold."""

    layers: int = at_least(1, 6)
    heads: int = at_least(1, 12)  # of attention; they share the width evenly
    width: int = at_least(1, 768)  # of a token; the perceptron is four times as wide
    dropout: float = within(0, 0.99, 0.1)  # of embeddings, attention and both branches
    context: int = at_least(1, 5)  # C, steps that are read
    bins: int = at_least(2, 64)  # tokens of an action's number
    slots: int = at_least(1, 204)  # S, numbers of an observation; see `slots`
    actions: int = at_least(1, 6)  # A, dimensions of an action; tasks may have fewer
    steps: int = at_least(1, 1000)  # of the longest episode
    decode: str = one_of("center", "lower")  # what a bin stands for; lower: the published code's
    # Two parts of the published model that teach it nothing, for counting and for comparing.
    position_table: bool = False  # GPT-2's, of which one row is read
    idle_heads: bool = False  # predictors of state, return and reward without a loss

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return 3 + self.actions


def parameters(cfg: ModelConfig) -> int:
    """Counts the parameters of the layers, most of a model's."""
    return cfg.layers * (12 * cfg.width**2 + 13 * cfg.width)


def training_bytes(cfg: ModelConfig, batch: int) -> int:
    """Counts the least bytes that an update takes: weights, gradients, moments, activations."""
    tokens = batch * cfg.context * cfg.tokens
    return 16 * parameters(cfg) + 4 * tokens * cfg.width * cfg.layers * 10
