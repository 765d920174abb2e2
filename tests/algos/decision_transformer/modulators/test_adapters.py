import torch
from torch.nn import functional as F

from lib.algos.decision_transformer.modulators.adapters import Bottleneck, BottleneckChange
from lib.algos.decision_transformer.modulators.api import Context
from lib.algos.decision_transformer.rows import of_all, of_each
from lib.algos.decision_transformer.transformer import causal_mask
from lib.core.seeding import generator
from tests.sequence_tiny import CFG, model, window

MIDDLE = 3


def fresh(count: int = 1) -> list[dict[str, torch.Tensor]]:
    context = Context(CFG, 2, generator(0, "adapters"))
    made = [Bottleneck(MIDDLE, context) for _ in range(count)]
    for p in (p for one in made for p in one.parameters()):
        p.data += torch.randn(p.shape, generator=context.generator) * 0.3
    return [one.tensors() for one in made]


@torch.no_grad()
def test_each_is_added_to_what_its_branch_adds():
    made, (given,) = model(), fresh()
    block, x = made.body.blocks[1], torch.randn(1, 4, CFG.width, generator=generator(0, "x"))
    mask = causal_mask(torch.ones(1, 4, dtype=torch.bool))

    def small(place, y):
        weight = {part: given[f"{place}_{part}"][1] for part in ("down", "up")}
        bias = {part: given[f"{place}_{part}_bias"][1, 0] for part in ("down", "up")}
        return F.silu(y @ weight["down"] + bias["down"]) @ weight["up"] + bias["up"]

    told, _ = block(x, mask, BottleneckChange(of_all(given)))
    branch = _attention(block, x, mask)
    h = x + branch + small("attention", branch)
    down = block.down(F.gelu(block.up(block.norm_2(h))))
    torch.testing.assert_close(told, h + down + small("perceptron", down), atol=1e-5, rtol=1e-4)


def _attention(block, x, mask):
    q, k, v = (block.split(part) for part in block.qkv(block.norm_1(x)).chunk(3, -1))
    seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return block.out(seen.transpose(1, 2).flatten(2))


@torch.no_grad()
def test_a_set_for_every_row_is_a_loop_over_rows():
    made, seen, sets = model(), window(), fresh(3)
    index = torch.tensor([2, 0, 2, 1, 0])
    together = made(seen, BottleneckChange(of_each(sets, index)))
    for row, one in enumerate(index.tolist()):
        alone = type(seen)(*(part[row : row + 1] for part in seen))
        told = made(alone, BottleneckChange(of_all(sets[one])))
        torch.testing.assert_close(together[row : row + 1], told, atol=1e-5, rtol=1e-4)


def test_weights_begin_small_and_biases_at_nothing():
    made = Bottleneck(48, Context(CFG, 2, generator(0, "adapters"))).tensors()
    assert abs(float(made["attention_down"].detach().std()) - 0.02) < 0.002
    assert not made["perceptron_up_bias"].any()
