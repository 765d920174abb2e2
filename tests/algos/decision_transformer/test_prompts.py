import pytest
import torch
from torch.nn import functional as F

from lib.algos.decision_transformer.prompts import KINDS, PromptChange, Prompts
from lib.algos.decision_transformer.rows import of_all, of_each
from lib.core.seeding import generator
from tests.sequence_tiny import CFG, B, C, model, window

P = 4


def fresh(kind: str, count: int = 1) -> list[dict[str, torch.Tensor]]:
    draws = generator(0, "prompts")
    return [Prompts(kind, P, CFG, draws).tensors() for _ in range(count)]


def change(kind: str, dropout: float = 0.0) -> PromptChange:
    return PromptChange(of_all(fresh(kind)[0]), kind, P, dropout)


def slowly(made, tokens: torch.Tensor, valid: torch.Tensor, given: dict, kind: str) -> torch.Tensor:
    """One row (K, D) at a time: tokens that a loop over layers puts before it, keys it adds."""
    body = made.body
    rows = []
    for x, mine in zip(tokens, valid, strict=True):
        count = len(x)
        for layer, block in enumerate(body.blocks):
            front = (
                given["tokens"][layer]
                if kind != "prefix" and layer < len(given["tokens"])
                else None
            )
            if front is not None:
                x = torch.cat((front, x[-count:]))
            h = block.norm_1(x)
            q, k, v = block.qkv(h).chunk(3, dim=1)
            before = 0
            if kind == "prefix":
                k = torch.cat((given["keys"][layer], k))
                v = torch.cat((given["values"][layer], v))
                before = P
            own = len(x) - count  # prompts within the row
            seen = torch.zeros(len(x), len(k), dtype=torch.bool)
            for token in range(len(x)):
                for other in range(len(k)):
                    at = other - before
                    free = at < own or bool(mine[at - own]) or at == token
                    seen[token, other] = at < 0 or (at <= token and free)
            split = [part.unflatten(1, (CFG.heads, -1)).transpose(0, 1) for part in (q, k, v)]
            out = F.scaled_dot_product_attention(*split, attn_mask=seen)
            x = x + block.out(out.transpose(0, 1).flatten(1))
            x = x + block.down(F.gelu(block.up(block.norm_2(x))))
        rows.append(body.norm(x[-count:]))
    return torch.stack(rows)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_read_as_a_loop_over_rows_and_layers_does(kind):
    made, seen = model(), window(padding=1)
    (given,) = fresh(kind)
    told = made.read(made.embed(seen), seen.valid, change(kind))
    flat, valid = made.embed(seen).flatten(1, 2), seen.valid.repeat_interleave(3 + CFG.actions, 1)
    torch.testing.assert_close(
        told.flatten(1, 2), slowly(made, flat, valid, given, kind), atol=1e-5, rtol=1e-4
    )
    assert not torch.allclose(told, made.read(made.embed(seen), seen.valid))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_set_for_every_row_is_a_loop_over_rows(kind):
    made, seen, sets = model(), window(), fresh(kind, 3)
    index = torch.tensor([2, 0, 2, 1, 0])
    together = made(seen, PromptChange(of_each(sets, index), kind, P))
    for row, one in enumerate(index.tolist()):
        alone = type(seen)(*(part[row : row + 1] for part in seen))
        told = made(alone, PromptChange(of_all(sets[one]), kind, P))
        torch.testing.assert_close(together[row : row + 1], told, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_few_of_a_pool_are_read_one_after_the_other(kind):
    made, seen, sets = model(), window(), fresh(kind, 3)
    index = torch.tensor([[2, 0]]).expand(B, 2)
    joined = {name: torch.cat((sets[2][name], sets[0][name]), 1) for name in sets[0]}
    told = made(seen, PromptChange(of_each(sets, index), kind, 2 * P))
    torch.testing.assert_close(told, made(seen, PromptChange(of_all(joined), kind, 2 * P)))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_decisions_beside_what_is_kept_are_those_of_whole_passes(kind):
    made = model(actions=5, width=22)
    for p in made.parameters():
        p.data *= 9
    draws = generator(0, "draws")
    seen = window()._replace(action=torch.randint(CFG.bins, (B, C, 5), generator=draws))
    given = Prompts(kind, P, made.cfg, draws).tensors()
    adapter = PromptChange(of_all({n: 9 * t for n, t in given.items()}), kind, P)
    found = made.decide(seen, made.embed(seen), 3, adapter)
    slow = seen.action.clone()
    for dimension in range(3):
        whole = made(seen._replace(action=slow), adapter)
        slow[:, -1, dimension] = whole[:, -1, dimension].argmax(-1)
    assert torch.equal(found, slow[:, -1, :3])


@pytest.mark.parametrize("kind", KINDS)
def test_later_tokens_change_nothing_before_them_behind_vectors_either(kind):
    made, seen, adapter = model(), window(), change(kind)
    before = made(seen, adapter)
    reward = seen.reward.clone()
    reward[:, 1] += 1
    after = made(seen._replace(reward=reward), adapter)
    assert torch.equal(after[:, :2], before[:, :2]) and not torch.equal(after[:, 2], before[:, 2])


def test_vectors_drop_numbers_out_only_while_they_learn():
    torch.manual_seed(0)
    assert not change("prompt").tokens(0).eq(0).any()
    dropped = change("prompt", 0.5).tokens(0)
    assert 0.2 < float(dropped.eq(0).float().mean()) < 0.8
    kept = dropped != 0
    assert torch.equal(dropped[kept], 2 * change("prompt").tokens(0)[kept])


def test_vectors_begin_between_minus_one_and_one():
    (given,) = fresh("p_tuning")
    assert given["tokens"].shape == (CFG.layers, P, CFG.width)
    assert 0.9 < float(given["tokens"].detach().abs().max()) <= 1
