import pytest
import torch
from torch.nn import functional as F

from lib.algos.decision_transformer.rows import of_all, of_each
from lib.algos.decision_transformer.transformer import UNCHANGED
from lib.algos.decision_transformer.vectors import VectorChange, Vectors
from lib.core.seeding import generator
from tests.sequence_tiny import CFG, model, window


def fresh(count: int = 1) -> list[dict[str, torch.Tensor]]:
    draws, made = generator(0, "vectors"), [Vectors(CFG).tensors() for _ in range(count)]
    for tensors in made:
        for p in tensors.values():
            p.data += torch.randn(p.shape, generator=draws) * 0.3
    return made


def test_ones_leave_every_logit_as_it_was_to_the_bit():
    made, seen = model(), window()
    assert torch.equal(made(seen, VectorChange(of_all(Vectors(CFG).tensors()))), made(seen))
    assert torch.equal(made(seen, UNCHANGED), made(seen))


@torch.no_grad()
def test_multiplying_is_the_same_as_other_weights():
    # Rows of the layers that make keys and values, columns of the one that reads activations.
    made, seen, (given,) = model(), window(), fresh()
    given["embedding"] = torch.ones_like(given["embedding"])
    told = made(seen, VectorChange(of_all(given)))
    for layer, block in enumerate(made.body.blocks):
        rows = torch.cat((torch.ones(CFG.width), given["k"][layer, 0], given["v"][layer, 0]))
        block.qkv.weight.mul_(rows.unsqueeze(1))
        block.qkv.bias.mul_(rows)
        block.down.weight.mul_(given["active"][layer])
    torch.testing.assert_close(told, made(seen), atol=1e-5, rtol=1e-4)


def test_embedded_tokens_are_multiplied_by_their_kind():
    (given,) = fresh()
    tokens = torch.randn(5, 3, 5, CFG.width, generator=generator(0, "tokens"))
    told = VectorChange(of_all(given)).embedded(tokens, (0, 1, 2, 2, 3))
    for place, kind in enumerate((0, 1, 2, 2, 3)):
        torch.testing.assert_close(
            told[:, :, place], tokens[:, :, place] * given["embedding"][0, kind]
        )


@torch.no_grad()
def test_a_set_for_every_row_is_a_loop_over_rows_also_while_deciding():
    made, seen, sets = model(), window(), fresh(3)
    for p in made.parameters():
        p.data *= 9
    index = torch.tensor([2, 0, 2, 1, 0])
    adapter = VectorChange(of_each(sets, index))
    together, decided = made(seen, adapter), made.decide(seen, made.embed(seen), 2, adapter)
    for row, one in enumerate(index.tolist()):
        alone, mine = (
            type(seen)(*(part[row : row + 1] for part in seen)),
            VectorChange(of_all(sets[one])),
        )
        torch.testing.assert_close(together[row : row + 1], made(alone, mine), atol=1e-4, rtol=1e-4)
        assert torch.equal(decided[row : row + 1], made.decide(alone, made.embed(alone), 2, mine))


@pytest.mark.filterwarnings("default")  # theirs
def test_vectors_after_an_activation_are_pefts():
    """Parity of one layer with the reference, where that package is installed."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    linear = torch.nn.Linear(4 * CFG.width, CFG.width)
    settings = peft.IA3Config(target_modules=["0"], feedforward_modules=["0"])
    theirs = peft.get_peft_model(torch.nn.Sequential(linear), settings)
    (given,) = fresh()
    layer = theirs.base_model.model[0]
    layer.ia3_l["default"].data = (
        given["active"][0].detach().clone().view_as(layer.ia3_l["default"])
    )
    x = torch.randn(3, 4 * CFG.width, generator=generator(0, "x"))
    mine = VectorChange(of_all(given)).change("active", 0, x, F.gelu(x))
    torch.testing.assert_close(theirs(F.gelu(x)), layer.base_layer(mine))
