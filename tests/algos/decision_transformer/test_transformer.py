import math

import pytest
import torch
from torch.nn import functional as F

from lib.algos.decision_transformer.transformer import Block, Transformer, causal_mask, gpt2_init_
from lib.core.seeding import generator

WIDTH, HEADS, K = 6, 2, 5


def body(layers: int = 2) -> Transformer:
    made = Transformer(layers, HEADS, WIDTH, 0.0).eval()
    gpt2_init_(made, layers, generator(0, "init"))
    for p in made.parameters():  # large enough to matter, norms and biases included
        p.data += torch.randn(p.shape, generator=generator(1, "noise")) * 0.3
    return made


def slowly(made: Transformer, x: torch.Tensor, valid: list[bool]) -> torch.Tensor:
    """One row (K, D): every token looks at every valid one before it, a head at a time."""
    for block in made.blocks:
        h = block.norm_1(x)
        q, k, v = block.qkv(h).split(WIDTH, dim=1)
        size, rows = WIDTH // HEADS, []
        for token in range(len(x)):
            seen = [t for t in range(token + 1) if valid[t] or t == token]
            row = []
            for head in range(HEADS):
                part = slice(head * size, (head + 1) * size)
                score = [float(q[token, part] @ k[t, part]) / math.sqrt(size) for t in seen]
                weight = torch.tensor(score).softmax(0)
                row.append(sum(w * v[t, part] for w, t in zip(weight, seen, strict=True)))
            rows.append(torch.cat(row))
        x = x + block.out(torch.stack(rows))
        x = x + block.down(F.gelu(block.up(block.norm_2(x))))
    return made.norm(x)


@torch.no_grad()
@pytest.mark.parametrize("valid", [[True] * K, [False, False, True, True, True]])
def test_it_reads_as_a_loop_over_tokens_and_heads_does(valid):
    made = body()
    x = torch.randn(3, K, WIDTH, generator=generator(0, "x"))
    told, _ = made(x, causal_mask(torch.tensor([valid] * 3)))
    for row in range(3):
        torch.testing.assert_close(told[row], slowly(made, x[row], valid))


def test_a_mask_lets_tokens_look_back_at_valid_ones_and_at_themselves():
    mask = causal_mask(torch.tensor([[False, True, False]]))[0, 0]
    assert mask.tolist() == [[True, False, False], [False, True, False], [False, True, True]]


def test_tokens_read_one_by_one_beside_what_is_kept_are_as_those_read_at_once():
    made = body()
    x = torch.randn(3, K, WIDTH, generator=generator(0, "x"))
    valid = torch.ones(3, K, dtype=torch.bool)
    whole, _ = made(x, causal_mask(valid))
    told, past = made(x[:, :2], causal_mask(valid[:, :2]))
    parts = [told]
    for token in range(2, K):
        told, past = made(x[:, token : token + 1], valid[:, None, None, : token + 1], past=past)
        parts.append(told)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert past[0][0].shape == (3, HEADS, K, WIDTH // HEADS)


def test_weights_begin_as_gpt2s():
    made = Transformer(3, 4, 64, 0.1)
    gpt2_init_(made, 3, generator(0, "init"))
    stds = [
        float(layer.weight.detach().std()) for layer in (made.blocks[1].qkv, made.blocks[1].out)
    ]
    assert stds == pytest.approx([0.02, 0.02 / math.sqrt(6)], rel=0.05)
    assert not made.blocks[0].up.bias.any() and (made.norm.weight == 1).all()


@pytest.mark.filterwarnings("default")  # theirs
def test_a_block_is_the_one_of_transformers():
    """Parity with the reference's block, where that package is installed."""
    package = pytest.importorskip("transformers", reason="transformers is not installed")
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block

    sizes = {"n_embd": WIDTH, "n_head": HEADS, "n_inner": 4 * WIDTH}
    off = {"resid_pdrop": 0.0, "attn_pdrop": 0.0, "embd_pdrop": 0.0}
    settings = package.GPT2Config(
        **sizes, **off, activation_function="gelu", attn_implementation="eager"
    )
    theirs, mine = GPT2Block(settings, layer_idx=0).eval(), Block(0, WIDTH, HEADS, 0.0).eval()
    pairs = {
        mine.norm_1: theirs.ln_1,
        mine.norm_2: theirs.ln_2,
        mine.qkv: theirs.attn.c_attn,
        mine.out: theirs.attn.c_proj,
        mine.up: theirs.mlp.c_fc,
        mine.down: theirs.mlp.c_proj,
    }
    for one, other in pairs.items():
        turned = other.weight.dim() == 2  # theirs are stored inputs first
        one.weight.data = (other.weight.T if turned else other.weight).detach().clone()
        one.bias.data = other.bias.detach().clone()
    x = torch.randn(3, K, WIDTH, generator=generator(0, "x"))
    mask = causal_mask(torch.ones(3, K, dtype=torch.bool))
    added = torch.zeros(3, 1, K, K).masked_fill(~mask, torch.finfo(torch.float32).min)
    reference = theirs(x, attention_mask=added)
    reference = reference[0] if isinstance(reference, tuple) else reference
    torch.testing.assert_close(mine(x, mask)[0], reference)
