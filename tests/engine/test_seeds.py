"""S runs as one: the same numbers as one after another, in memory that all of them share."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from lib.core.noise import NoiseBuffers, NoiseSpec, draw_noise
from lib.core.trees import leaf_map
from lib.engine.seeds import (
    FlatLayout,
    gradients,
    norm_per_seed,
    on_tensors,
    over_seeds,
    prefixed,
    stack_as_views,
    unprefixed,
)

LANES = 3


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# --- trees and stacks -------------------------------------------------------------------------


def test_every_tensor_of_a_tree_is_replaced_and_the_rest_stays():
    tree = {"pair": Pair(torch.ones(2), torch.ones(5)), "list": [torch.ones(3), "word", 7]}
    doubled = leaf_map(lambda tensor: 2 * tensor, tree)
    assert isinstance(doubled["pair"], Pair) and doubled["pair"].right.sum() == 10
    assert doubled["list"][0].sum() == 6 and doubled["list"][1:] == ["word", 7]


@pytest.mark.parametrize("lanes", [1, LANES])
def test_writing_to_a_stack_shows_in_the_tensors_and_the_other_way_round(lanes):
    own = [nn.Parameter(torch.full((2, 5), float(i))) for i in range(lanes)]
    whole = stack_as_views([{"weight": tensor} for tensor in own])["weight"]
    assert whole.shape == (lanes, 2, 5) and not whole.requires_grad
    whole[-1, 0, 0] = 11.0
    own[0].data[1, 1] = 13.0
    assert own[-1][0, 0] == 11.0 and whole[0, 1, 1] == 13.0
    assert all(isinstance(tensor, nn.Parameter) and tensor.requires_grad for tensor in own)


def test_stacking_keeps_what_the_tensors_held_and_the_nesting():
    trees = [{"pair": Pair(torch.full((2,), i), torch.full((5,), -i)), "none": []} for i in (1, 2)]
    whole = stack_as_views(trees)
    assert isinstance(whole["pair"], Pair) and whole["none"] == []
    assert whole["pair"].left.tolist() == [[1, 1], [2, 2]]
    assert whole["pair"].right[:, 0].tolist() == [-1, -2]


def test_a_single_tensor_is_stacked_without_a_copy():
    tensor = torch.zeros(5)
    assert stack_as_views([tensor]).data_ptr() == tensor.data_ptr()


def test_stacking_again_moves_every_tensor_to_the_new_stack():
    own = [torch.zeros(5) for _ in range(LANES)]
    stack_as_views(own)
    again = stack_as_views(own)
    again[1] = 1.0
    assert own[1].sum() == 5


# --- rows -----------------------------------------------------------------------------------------


def layout() -> tuple[FlatLayout, dict[str, Tensor]]:
    tensors = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([7.0, 8.0])}
    return FlatLayout(tensors), tensors


def test_a_row_holds_tensors_one_after_the_other():
    flat, tensors = layout()
    row = flat.row(tensors)
    assert row.tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 7, 8, 0, 0]  # from multiples of four on
    again = flat.views(row)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_a_row_is_a_copy_and_its_views_are_none():
    flat, tensors = layout()
    row = flat.row(tensors)
    tensors["bias"][0] = 70.0
    assert row[8] == 7.0
    flat.views(row)["weight"][1, 0] = 30.0
    assert row[3] == 30.0


def test_rows_of_several_lanes_are_viewed_at_once():
    flat, tensors = layout()
    rows = torch.stack([flat.row(tensors), -flat.row(tensors)])
    views = flat.views(rows)
    assert views["weight"].shape == (2, 2, 3) and views["bias"].shape == (2, 2)
    assert torch.equal(views["weight"][1], -tensors["weight"])


def test_a_row_takes_tensors_in_its_own_order_and_no_others():
    flat, tensors = layout()
    turned = dict(reversed(tensors.items()))
    assert torch.equal(flat.row(turned), flat.row(tensors))
    with pytest.raises(ValueError, match="do not fit a row of"):
        flat.row({"weight": tensors["weight"]})
    with pytest.raises(ValueError, match="do not fit a row of"):
        flat.row(tensors | {"bias": torch.zeros(3)})


# --- functions --------------------------------------------------------------------------------


def weighted(data: dict[str, Tensor], by: Tensor) -> dict[str, Tensor]:
    return {"rows": data["rows"] @ by, "all": (data["rows"] @ by).sum()}


@pytest.mark.parametrize("lanes", [1, LANES])
def test_a_function_over_seeds_equals_a_loop(draws, lanes):
    rows, by = torch.randn(lanes, 7, 5, generator=draws), torch.randn(lanes, 5, generator=draws)
    found = over_seeds(weighted, lanes)({"rows": rows}, by)
    for lane in range(lanes):
        expected = weighted({"rows": rows[lane]}, by[lane])
        torch.testing.assert_close(found["rows"][lane], expected["rows"])
        torch.testing.assert_close(found["all"][lane], expected["all"])


def test_modules_compute_with_the_tensors_they_are_given(draws):
    layer, given = nn.Linear(5, 2), torch.randn(2, 5, generator=draws)
    fn = on_tensors(lambda m, x: m(x), layer=layer.to("meta"))
    x = torch.randn(7, 5, generator=draws)
    found = fn(prefixed(layer={"weight": given, "bias": torch.ones(2)}), x)
    torch.testing.assert_close(found, x @ given.T + 1)


def test_one_module_under_two_names_computes_with_the_tensors_of_each():
    # the reviewer compares today's dynamics with those of before, which are built alike
    layer = nn.Linear(1, 1, bias=False, device="meta")
    fn = on_tensors(lambda now, old, x: now(x) - old(x), now=layer, old=layer)
    tensors = prefixed(now={"weight": torch.full((1, 1), 5.0)}, old={"weight": torch.ones(1, 1)})
    assert fn(tensors, torch.ones(1)).item() == 4.0


def test_a_missing_tensor_is_refused():
    fn = on_tensors(lambda m, x: m(x), layer=nn.Linear(5, 2, device="meta"))
    with pytest.raises(RuntimeError, match="bias"):
        fn({"layer.weight": torch.zeros(2, 5)}, torch.zeros(5))


def test_a_modules_tensors_are_found_by_its_name_alone():
    held = prefixed(q={"weight": torch.zeros(2)}, q_target={"weight": torch.ones(2)})
    assert list(held) == ["q.weight", "q_target.weight"]
    assert unprefixed(held, "q")["weight"].sum() == 0


# --- gradients --------------------------------------------------------------------------------


def squared(trained: dict[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    off = trained["slope"] * x + trained["shift"] - 1
    return off.square().sum(), {"off": off}


def problem(draws: torch.Generator, lanes: int) -> tuple[dict[str, Tensor], Tensor]:
    trained = {
        "slope": torch.randn(lanes, 5, generator=draws),
        "shift": torch.randn(lanes, 1, generator=draws),
    }
    return trained, torch.randn(lanes, 5, generator=draws)


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("lanes", [1, LANES])
def test_gradients_of_all_lanes_equal_those_of_each_alone(draws, lanes, pure):
    trained, x = problem(draws, lanes)
    found, norm, kept = gradients(squared, lanes, None, pure=pure)(trained, x)
    assert norm.tolist() == [0.0] * lanes  # not asked for
    for lane in range(lanes):
        alone = {name: value[lane].clone().requires_grad_() for name, value in trained.items()}
        loss, parts = squared(alone, x[lane])
        loss.backward()
        for name, value in alone.items():
            torch.testing.assert_close(found[name][lane], value.grad)
        torch.testing.assert_close(kept["off"][lane], parts["off"].detach())
    assert not any(value.requires_grad for value in (*found.values(), kept["off"]))


@pytest.mark.parametrize("pure", [False, True])
def test_gradients_are_clipped_lane_by_lane(draws, pure):
    trained, x = problem(draws, LANES)
    whole, _, _ = gradients(squared, LANES, None, pure=pure)(trained, x)
    norms = [torch.cat([g[lane].flatten() for g in whole.values()]).norm() for lane in range(LANES)]
    limit = float(torch.stack(norms).median())  # one is above it, one is below
    found, told, _ = gradients(squared, LANES, limit, pure=pure)(trained, x)
    torch.testing.assert_close(told, torch.stack(norms))
    for lane in range(LANES):
        alone = [nn.Parameter(value[lane].clone()) for value in trained.values()]
        for p, gradient in zip(alone, whole.values(), strict=True):
            p.grad = gradient[lane].clone()
        nn.utils.clip_grad_norm_(alone, limit)
        for p, name in zip(alone, found, strict=True):
            torch.testing.assert_close(found[name][lane], p.grad)


def test_gradients_come_while_gradients_are_switched_off(draws):
    trained, x = problem(draws, LANES)
    with torch.no_grad():
        found, _, _ = gradients(squared, LANES, 1.0)(trained, x)
    assert found["slope"].abs().sum() > 0


def test_the_norm_of_a_lane_is_that_of_all_its_tensors():
    # lane 0: 3, 4 and 12 give 13; lane 1: nothing but zeros
    tensors = [torch.tensor([[3.0, 4.0], [0, 0]]), torch.tensor([[[12.0]], [[0.0]]])]
    assert norm_per_seed(tensors).tolist() == [13.0, 0.0]


# --- random numbers ---------------------------------------------------------------------------

LAYOUT = {
    "pick": NoiseSpec("uniform", (7,)),
    "noise": NoiseSpec("normal", (2, 5)),
    "one": NoiseSpec("uniform", ()),
}


def seeded(count: int = LANES) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_a_lane_gets_what_it_would_get_alone():
    together = NoiseBuffers(LAYOUT, LANES, "cpu").refill(seeded())
    for lane, generator in enumerate(seeded()):
        alone = draw_noise(LAYOUT, generator)
        assert all(torch.equal(together[name][lane], alone[name]) for name in LAYOUT)


def test_draws_have_the_kinds_and_shapes_that_were_asked_for():
    layout = {"u": NoiseSpec("uniform", (1000,)), "n": NoiseSpec("normal", (100, 10))}
    found = NoiseBuffers(layout, LANES, "cpu").refill(seeded())
    assert found["u"].shape == (LANES, 1000) and found["n"].shape == (LANES, 100, 10)
    assert found["u"].min() >= 0 and found["u"].max() < 1
    assert found["n"].min() < -2 and found["n"].max() > 2


def test_new_numbers_lie_where_the_old_ones_were():
    draws, generators = NoiseBuffers(LAYOUT, LANES, "cpu"), seeded()
    first = draws.refill(generators)
    before = {name: (value.data_ptr(), value.clone()) for name, value in first.items()}
    second = draws.refill(generators)
    assert all(second[name].data_ptr() == where for name, (where, _) in before.items())
    assert not any(torch.equal(second[name], value) for name, (_, value) in before.items())


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"only": NoiseSpec("uniform", (5,))},
        {"only": NoiseSpec("normal", (5,))},
        {"nothing": NoiseSpec("normal", (5, 0, 2)), "some": NoiseSpec("normal", (5,))},
    ],
    ids=["no numbers", "uniform alone", "normal alone", "an empty one"],
)
def test_a_layout_may_leave_a_kind_out(layout):
    generators = seeded()
    found = NoiseBuffers(layout, LANES, "cpu").refill(generators)
    assert {name: value.shape for name, value in found.items()} == {
        name: (LANES, *draw.shape) for name, draw in layout.items()
    }
    if not layout:
        assert torch.equal(generators[0].get_state(), seeded()[0].get_state())
