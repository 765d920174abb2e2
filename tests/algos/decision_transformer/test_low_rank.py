import pytest
import torch

from lib.algos.decision_transformer.low_rank import LowRank, LowRankChange, LowRankConfig, low_rank
from lib.algos.decision_transformer.rows import of_all, of_each
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.algos.decision_transformer.transformer import PLACES, Adapter
from lib.core.seeding import generator
from tests.sequence_tiny import CFG, model, window


def fresh(count: int = 3, random: bool = True, cfg: ModelConfig = CFG) -> list[LowRank]:
    draws = generator(0, "sets")
    made = [LowRank(LowRankConfig(rank=5), cfg, draws, pooled=False) for _ in range(count)]
    for p in (p for one in made for p in one.parameters() if random):
        p.data = torch.randn(p.shape, generator=draws) * 0.3
    return made


def test_the_published_set_has_as_many_parameters_as_published():
    made = LowRank(LowRankConfig(), ModelConfig(), generator(0, "sets"), pooled=False)
    count = sum(p.numel() for p in made.parameters())
    # 6 layers of (768 + 768) * 8 for queries, as many for values, (3,072 + 3,072) * 8 for the MLP.
    assert count == 6 * (2 * 1_536 * 8 + 6_144 * 8) == 442_368
    assert sum(made.tensors()[f"mlp_{part}"].numel() for part in "ab") == 294_912


@pytest.mark.parametrize(
    ("init", "pooled", "bound"),
    [("original", False, 0.0052), ("original", True, 0.0021), ("standard", True, 0.036)],
)
def test_first_factors_begin_within_the_published_bounds(init, pooled, bound):
    # 1 / sqrt(6 * 768 * 8), 1 / sqrt(6 * 6 * 768 * 8) and 1 / sqrt(768)
    settings = LowRankConfig(init=init)
    made = LowRank(settings, ModelConfig(), generator(0, "sets"), pooled)
    assert float(made.q_a.detach().abs().max()) == pytest.approx(bound, rel=0.02)
    assert not made.q_b.any() and not made.mlp_b.any()


def test_a_fresh_set_leaves_every_logit_as_it_was():
    made, seen = model(), window()
    (one,) = fresh(1, random=False)
    assert torch.equal(made(seen, LowRankChange(of_all(one.tensors()), 2.0)), made(seen))


def test_what_is_added_reads_what_its_place_reads():
    made, seen, read = model(), window(), {}

    class Spy(Adapter):
        def change(self, place, layer, x, out):
            read[place, layer] = x, out
            return out

    made(seen, Spy())
    block = made.body.blocks[1]
    assert set(read) == {(place, layer) for place in PLACES for layer in range(2)}
    assert torch.equal(read["q", 1][0], read["v", 1][0])
    assert read["mlp", 1][1].shape[-1] == 4 * CFG.width == block.up.out_features
    torch.testing.assert_close(read["q", 1][0].mean(-1), torch.zeros(5, 15), atol=1e-5, rtol=0)
    one = LowRankChange(of_all(fresh(1)[0].tensors()), 2.0)
    x, up = read["mlp", 0]
    first, second = one.pick("mlp_a", 0), one.pick("mlp_b", 0)
    torch.testing.assert_close(one.change("mlp", 0, x, up), up + 2 * (up @ first) @ second)
    x, q = read["q", 0]
    first, second = one.pick("q_a", 0), one.pick("q_b", 0)
    torch.testing.assert_close(one.change("q", 0, x, q), q + 2 * (x @ first) @ second)
    assert one.change("k", 0, x, q) is q


def test_a_low_rank_product_by_hand():
    # x A = [1, 2] [[1], [-1]] = [-1], times B [[3, 0]] = [-3, 0], times 2.
    x, first, second = (torch.tensor(m) for m in ([[1.0, 2.0]], [[1.0], [-1.0]], [[3.0, 0.0]]))
    assert low_rank(x, first, second, 2.0).tolist() == [[-6, 0]]


def test_a_set_for_every_row_is_a_loop_over_rows():
    made, seen, sets = model(), window(), [one.tensors() for one in fresh()]
    index = torch.tensor([2, 0, 2, 1, 0])
    together = made(seen, LowRankChange(of_each(sets, index), 2.0))
    for row, one in enumerate(index.tolist()):
        alone = type(seen)(*(part[row : row + 1] for part in seen))
        torch.testing.assert_close(
            together[row : row + 1],
            made(alone, LowRankChange(of_all(sets[one]), 2.0)),
            atol=1e-5,
            rtol=1e-4,
        )
    assert not torch.allclose(together[0], made(seen)[0])


def test_sets_that_no_row_has_get_no_gradient_at_all():
    made, seen, sets = model(), window(), fresh()
    index = torch.tensor([2, 0, 2, 2, 0])
    made(seen, LowRankChange(of_each([one.tensors() for one in sets], index), 2.0)).sum().backward()
    assert all(p.grad is None for p in sets[1].parameters())
    assert all(p.grad is not None for i in (0, 2) for p in sets[i].parameters())


@pytest.mark.filterwarnings("default")  # theirs
def test_plain_lora_is_pefts():
    """Parity of one layer with the reference, where that package is installed."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    linear = torch.nn.Linear(CFG.width, CFG.width)
    settings = peft.LoraConfig(r=5, lora_alpha=10, target_modules=["0"])
    theirs = peft.get_peft_model(torch.nn.Sequential(linear), settings)
    (one,) = fresh(1)
    layer = theirs.base_model.model[0]
    layer.lora_A["default"].weight.data = one.q_a[0].T.detach().clone()
    layer.lora_B["default"].weight.data = one.q_b[0].T.detach().clone()
    x = torch.randn(3, 4, CFG.width, generator=generator(0, "x"))
    mine = LowRankChange(of_all(one.tensors()), 2.0).change("q", 0, x, layer.base_layer(x))
    torch.testing.assert_close(theirs(x), mine)
