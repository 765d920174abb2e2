from lib.algos.api import Moved
from lib.analysis import moved
from lib.plotting.network import Layer
from lib.runner import parts

TAKEN = [
    Moved("model.encoder.net.0.weight", "copy", (5, 3), (5, 3)),
    Moved("model.reward_head.net.0.weight", "copy", (7, 3), (7, 3)),
    Moved("model.reward_head.net.2.weight", "fraction", (1, 7), (1, 7), "random + 0.2 source"),
    Moved("actor.net.0.weight", "random", (2, 7), ()),
    Moved("explorer.net.0.weight", "unused", (2, 7), (2, 7)),
]


def test_a_part_is_its_layers_in_order_and_what_became_of_them():
    assert moved.layers(TAKEN) == {
        "encoder": [Layer("copy")],
        "reward model": [Layer("copy"), Layer("fraction")],
        "actor": [Layer("random")],
    }
    assert moved.omega_of(TAKEN) == 0.2 and moved.omega_of(TAKEN[:2]) is None


def test_a_layer_is_weight_and_bias_and_what_only_scales_is_none():
    rows = [
        Moved("critic.net.0.bias", "random", (5,), (5,)),
        Moved("critic.net.0.weight", "copy", (5, 3), (5, 3)),
        Moved("critic.net.1.weight", "copy", (5,), (5,)),  # of a norm
        Moved("critic.scale", "random", (), ()),
    ]
    assert moved.layers(rows) == {"critic": [Layer("copy")]}
    assert moved.layers(rows[2:]) == {"critic": [Layer("copy"), Layer("random")]}


def test_of_columns_it_is_told_how_many_were_copied_and_a_fraction_of_nothing_is_new():
    rows = [
        Moved("model.rssm.input.weight", "columns", (7, 5), (7, 4), "2 columns copied, 3 random"),
        Moved("model.rssm.prior_hidden.weight", "copy", (7, 7), (7, 7)),
        Moved("critic.net.0.weight", "fraction", (1, 7), (1, 7), "random + 0 source"),
    ]
    assert moved.layers(rows) == {
        "recurrent model": [Layer("columns", 2 / 5), Layer("copy", label="prior")],
        "critic": [Layer("random")],
    }
    assert moved.omega_of(rows) is None


def test_the_last_row_of_a_tensor_counts_and_sources_are_numbered_from_one():
    name = "model.reward_head.sources.1.net.0.weight"
    rows = [Moved(name, "random", (5, 3), ()), Moved(name, "fixed", (5, 3), (5, 3))]
    assert moved.layers(rows) == {"source 2": [Layer("fixed")]}
    assert moved.layers([Moved("planner.net.0.weight", "copy", (2, 2), (2, 2))]) == {
        "planner": [Layer("copy")]
    }


def test_every_tensor_has_a_row_with_both_shapes():
    rows = moved.rows(TAKEN)
    assert len(rows) == len(TAKEN)
    assert rows[2][1:] == ["fraction: random + 0.2 source", "1 × 7", "1 × 7"]
    assert rows[3][1:] == ["random", "2 × 7", "–"]


def test_what_a_run_wrote_down_is_read_back_and_a_run_that_took_nothing_has_none(tmp_path):
    assert moved.of_run(tmp_path) == []
    parts.write_table(tmp_path / "parts.json", TAKEN)
    assert moved.of_run(tmp_path) == TAKEN
