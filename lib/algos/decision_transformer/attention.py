"""Whom does each token of a window look at?

Shapes: B windows, K = C * N tokens, H heads, D width.
"""

import torch
from torch import Tensor

from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.transformer import causal_mask
from lib.algos.decision_transformer.windows import Window


@torch.no_grad()
def weights(model: DecisionTransformer, window: Window, layer: int) -> Tensor:
    """Returns how much of its attention each token gives to each other, (B, H, K, K).

    Rows are tokens that look and add up to 1; columns are looked at. The model reads alone.
    """
    tokens = model.embed(window)
    mask = causal_mask(window.valid.repeat_interleave(tokens.shape[2], 1))
    x = model.flat(tokens)
    if layer:
        x, _ = model.body(x, mask, layers=layer)
    return block_weights(model.body.blocks[layer], x, mask)


def block_weights(block: torch.nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Returns the same of a block that reads (B, K, D): a softmax of scaled products."""
    q, k, _ = (block.split(part) for part in block.qkv(block.norm_1(x)).chunk(3, dim=-1))
    score = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return score.masked_fill(~mask, -torch.inf).softmax(-1)
