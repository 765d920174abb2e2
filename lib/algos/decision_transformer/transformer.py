"""A GPT-2 body: blocks of causal attention and a perceptron, each added to what enters it.

A modulator may add to queries, values and what the perceptron's first layer puts out.

Shapes: B rows, K tokens, D width, H heads, L layers.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Adapter = Callable[[str, int, Tensor], Tensor]
"""A place ("q", "v" or "mlp"), a layer and what that place reads, (B, K, ·), to what is added."""

Past = tuple[Tensor, Tensor]
"""Keys and values (B, H, K, D / H) of the tokens read so far, of one layer."""

STD = 0.02  # of initial weights, as GPT-2


class Block(nn.Module):
    """Attention, then a perceptron; each reads the normalised stream and adds to it.

    Source: Radford et al. 2019. Differs: GELU is exact, as in the Decision Transformer.
    """

    def __init__(self, index: int, width: int, heads: int, dropout: float):
        super().__init__()
        self.index, self.heads, self.dropout = index, heads, dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, x: Tensor, mask: Tensor, adapter: Adapter | None, past: Past | None = None
    ) -> tuple[Tensor, Past]:
        """Returns the stream (B, K, D) after the block, and keys and values up to its end.

        Args:
            mask: (B, 1, K, all tokens) bool, what may be looked at.
            past: of the tokens before these.
        """
        h = self.norm_1(x)
        q, k, v = self.qkv(h).chunk(3, dim=-1)
        if adapter is not None:
            q, v = q + adapter("q", self.index, h), v + adapter("v", self.index, h)
        q, k, v = (self._split(part) for part in (q, k, v))  # (B, H, K, D / H)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        x = x + self._drop(self.out(seen.transpose(1, 2).flatten(2)))
        h = self.up(self.norm_2(x))
        if adapter is not None:
            h = h + adapter("mlp", self.index, h)
        return x + self._drop(self.down(F.gelu(h))), (k, v)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Transformer(nn.Module):
    """Blocks, and a last normalisation."""

    def __init__(self, layers: int, heads: int, width: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.blocks = nn.ModuleList(Block(i, width, heads, dropout) for i in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        adapter: Adapter | None = None,
        past: Sequence[Past] | None = None,
    ) -> tuple[Tensor, list[Past]]:
        """Returns features (B, K, D), and every layer's keys and values; see `Block`."""
        x, kept = F.dropout(x, self.dropout, self.training), []
        for index, block in enumerate(self.blocks):
            x, here = block(x, mask, adapter, past[index] if past else None)
            kept.append(here)
        return self.norm(x), kept


def causal_mask(valid: Tensor) -> Tensor:
    """Returns what each token may look at: valid ones up to itself, and always itself.

    Args:
        valid: (B, K) bool.

    Returns:
        (B, 1, K, K) bool. A row is never empty, so that no softmax is over nothing.
    """
    count = valid.shape[1]
    earlier = torch.ones(count, count, dtype=torch.bool, device=valid.device).tril()
    itself = torch.eye(count, dtype=torch.bool, device=valid.device)
    return (earlier & valid.unsqueeze(1) | itself).unsqueeze(1)


def gpt2_init_(module: nn.Module, layers: int, generator: torch.Generator) -> None:
    """Sets weights as GPT-2 does, in place; those that end a branch by sqrt(2 L) smaller."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            ends = name.endswith((".out", ".down"))
            std = STD / (2 * layers) ** 0.5 if ends else STD
            nn.init.normal_(layer.weight, std=std, generator=generator)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, std=STD, generator=generator)
