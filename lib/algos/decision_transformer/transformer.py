"""A GPT-2 body: blocks of causal attention and a perceptron, each added to what enters it.

A modulator may change what it computes, and put vectors before all tokens; see `Adapter`.

Shapes: B rows, K tokens, P places put before them, D width, H heads, L layers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PLACES = ("q", "k", "v", "attention", "mlp", "active", "perceptron")
"""Where blocks may be changed: queries, keys, values, what attention adds; what the perceptron's
first layer puts out, the same after its activation, what the perceptron adds."""

Past = tuple[Tensor, Tensor]
"""Keys and values (B, H, K, D / H) of the tokens read so far, of one layer."""

STD = 0.02  # of initial weights, as GPT-2


class Adapter:
    """What a modulator changes while a window is read; this one changes nothing."""

    front: int = 0  # P, places that it puts before all tokens

    def change(self, place: str, layer: int, read: Tensor, out: Tensor) -> Tensor:
        """Returns what goes on from a place of a layer.

        Args:
            place: one of `PLACES`.
            read: (B, K, .) what the place computes from. out: (B, K, .) what it comes to.
        """
        return out

    def embedded(self, tokens: Tensor, kinds: Sequence[int]) -> Tensor:
        """Returns what embedded tokens (B, C, N, D) are read as.

        Args:
            kinds: N of 0 state, 1 return to go, 2 action, 3 reward.
        """
        return tokens

    def tokens(self, layer: int) -> Tensor | None:
        """Returns vectors (P, D) or (B, P, D) that a layer reads before all tokens.

        None leaves there what the layer before made of its own.
        """
        return None

    def keys_values(self, layer: int) -> Past | None:
        """Returns keys and values, (P, D) or (B, P, D) each, that all tokens may look at."""
        return None


UNCHANGED = Adapter()


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
        self, x: Tensor, mask: Tensor, adapter: Adapter = UNCHANGED, past: Past | None = None
    ) -> tuple[Tensor, Past]:
        """Returns the stream (B, K, D) after the block, and keys and values up to its end.

        Args:
            mask: (B, 1, K, all tokens) bool, what may be looked at.
            past: of the tokens before these.
        """
        h = self.norm_1(x)
        qkv = zip("qkv", self.qkv(h).chunk(3, dim=-1), strict=True)
        q, k, v = (self.split(adapter.change(name, self.index, h, out)) for name, out in qkv)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        seen = seen.transpose(1, 2).flatten(2)
        x = x + adapter.change("attention", self.index, seen, self._drop(self.out(seen)))
        h = self.norm_2(x)
        up = adapter.change("mlp", self.index, h, self.up(h))
        active = adapter.change("active", self.index, up, F.gelu(up))
        down = self._drop(self.down(active))
        return x + adapter.change("perceptron", self.index, active, down), (k, v)

    def split(self, x: Tensor) -> Tensor:
        """Returns (..., K, D) as (..., H, K, D / H)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

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
        layers: int | None = None,
    ) -> tuple[Tensor, list[Past]]:
        """Returns features (B, K, D), and every layer's keys and values; see `Block`.

        Args:
            mask: (B, 1, K, tokens so far) bool, of tokens alone: what an adapter puts before them
                is looked at by all.
            layers: stop after so many, and do not normalise.
        """
        adapter, first = adapter or UNCHANGED, past is None
        x, kept, put = F.dropout(x, self.dropout, self.training), [], 0
        mask = F.pad(mask, (adapter.front, 0), value=True)
        for index, block in enumerate(self.blocks[:layers]):
            if first and (tokens := adapter.tokens(index)) is not None:
                x = torch.cat((tokens.expand(len(x), -1, -1), x[:, put:]), 1)
                mask = mask if put else _with_front(mask, adapter.front)
                put = adapter.front
            before = _given(block, adapter, len(x)) if first else past[index]
            x, here = block(x, mask, adapter, before)
            kept.append(here)
        x = x[:, put:]
        return x if layers else self.norm(x), kept


def _given(block: Block, adapter: Adapter, rows: int) -> Past | None:
    """Returns the keys and values that an adapter puts before all tokens of a block."""
    if (given := adapter.keys_values(block.index)) is None:
        return None
    k, v = (block.split(part).expand(rows, -1, -1, -1) for part in given)
    return k, v


def _with_front(mask: Tensor, front: int) -> Tensor:
    """Adds rows of tokens put before all others, which look at themselves and those before them."""
    rows = torch.ones(front, mask.shape[-1], dtype=torch.bool, device=mask.device).tril()
    return torch.cat((rows.expand(len(mask), 1, -1, -1), mask), 2)


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
