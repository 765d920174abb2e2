from lib.algos.api import Moved
from lib.analysis import moved
from lib.runner import parts

TAKEN = [
    Moved("model.encoder.net.0.weight", "copy", (5, 3), (5, 3)),
    Moved("model.reward_head.net.0.weight", "copy", (7, 3), (7, 3)),
    Moved("model.reward_head.net.2.weight", "fraction", (1, 7), (1, 7), "random + 0.2 source"),
    Moved("actor.net.0.weight", "random", (2, 7), ()),
    Moved("explorer.net.0.weight", "unused", (2, 7), (2, 7)),
]


def test_a_component_is_divided_by_what_became_of_its_tensors():
    # of the reward head's two tensors one is a fraction
    names, shares = moved.shares(TAKEN)
    assert names == ["encoder", "reward head", "actor"]
    assert shares == {"copy": [1, 0.5, 0], "fraction": [0, 0.5, 0], "random": [0, 0, 1]}


def test_every_tensor_has_a_row_with_both_shapes():
    rows = moved.rows(TAKEN)
    assert len(rows) == len(TAKEN)
    assert rows[2][1:] == ["fraction: random + 0.2 source", "1 × 7", "1 × 7"]
    assert rows[3][1:] == ["random", "2 × 7", "–"]


def test_what_a_run_wrote_down_is_read_back_and_a_run_that_took_nothing_has_none(tmp_path):
    assert moved.of_run(tmp_path) == []
    parts.write_table(tmp_path / "parts.json", TAKEN)
    assert moved.of_run(tmp_path) == TAKEN
