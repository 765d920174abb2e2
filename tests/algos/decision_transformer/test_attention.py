import pytest
import torch

from lib.algos.decision_transformer.attention import block_weights, weights
from lib.algos.decision_transformer.transformer import causal_mask
from lib.core.seeding import generator
from tests.sequence_tiny import CFG, B, C, model, window

K = C * (3 + CFG.actions)


@pytest.mark.parametrize("layer", [0, 1])
def test_rows_add_up_to_one_and_look_at_nothing_later_or_padded(layer):
    told = weights(model(), window(padding=1), layer)
    assert told.shape == (B, CFG.heads, K, K)
    torch.testing.assert_close(told.sum(-1), torch.ones(B, CFG.heads, K))
    assert not told.triu(1).any()
    assert not told[:, :, 5:, :5].any(), "the first step is padding"


@torch.no_grad()
def test_values_averaged_by_them_are_what_the_block_attends_to():
    made = model()
    block, x = made.body.blocks[1], torch.randn(2, 4, CFG.width, generator=generator(0, "x"))
    mask = causal_mask(torch.ones(2, 4, dtype=torch.bool))
    v = block.split(block.qkv(block.norm_1(x)).chunk(3, -1)[2])
    seen = (block_weights(block, x, mask) @ v).transpose(1, 2).flatten(2)
    h = x + block.out(seen)
    told = h + block.down(torch.nn.functional.gelu(block.up(block.norm_2(h))))
    torch.testing.assert_close(told, block(x, mask)[0])


@torch.no_grad()
def test_the_second_layer_reads_what_the_first_made():
    made, seen = model(), window()
    before = weights(made, seen, 1)
    made.body.blocks[0].down.weight.data *= 50
    assert not torch.allclose(before, weights(made, seen, 1))
