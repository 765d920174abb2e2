import json

import numpy as np
import pytest

from lib.analysis import continual, results
from tests.synthetic import make_run

PREPARED = ("room-1", "room-2", "room-3")
#        on room-1, room-2, room-3; room-1 only gets the agent ready
SUCCESS = [[0.9, None, None], [0.5, 0.8, None], [0.3, 0.2, 0.6]]
ANY = [[1.0, None, None], [0.75, 1.0, None], [0.5, 0.5, 1.0]]


def group(folder, prepares=1, seeds=3, **more) -> results.Group:
    told = {"prepares": prepares, "success_matrix": SUCCESS, "success_any_matrix": ANY} | more
    runs = [
        results.load_run(make_run(folder / f"s{seed}", tasks=PREPARED, seed=seed, **told))
        for seed in range(seeds)
    ]
    return results.group_runs(runs)[0]


def test_measures_of_a_stream_leave_out_what_came_before_it(tmp_path):
    one = group(tmp_path)
    told = continual.of_stream(one, one.stack("success_matrix"))
    # Of rooms 2 and 3: ends 0.2 and 0.6; at their own ends 0.8 and 0.6.
    assert {name: float(values[0]) for name, values in told.items()} == pytest.approx(
        {
            "average": 0.4,
            "interquartile mean over tasks": 0.4,
            "forgetting": 0.3,
            "backward transfer": -0.6,
        }
    )
    early = continual.before_stream(one, one.stack("success_matrix"))
    assert [float(values[0]) for values in early] == pytest.approx([0.9, 0.3])


def test_without_preparation_the_stream_is_everything(tmp_path):
    one = group(tmp_path, prepares=0)
    told = continual.of_stream(one, one.stack("success_matrix"))
    assert float(told["forgetting"][0]) == pytest.approx((0.6 + 0.6 + 0) / 3)
    assert continual.before_stream(one, one.stack("success_matrix")) is None


def test_an_interquartile_mean_drops_the_best_and_the_worst_of_four():
    matrix = np.zeros((4, 4))
    matrix[-1] = [0.0, 0.5, 0.7, 1.0]
    assert continual.interquartile_end(matrix) == pytest.approx(0.6)


def test_there_is_a_table_for_everything_that_is_known(tmp_path):
    told = continual.tables([group(tmp_path)])
    assert list(told) == [
        "share of the optimum",
        "success at the last step",
        "success at any step",
    ]
    header, (row,) = told["success at any step"]
    assert header[1:] == [*continual.MEASURES, "before the stream", "the same after it"]
    assert row[1:] == [
        "0.75 [0.75, 0.75]",
        "0.75 [0.75, 0.75]",
        "0.25 [0.25, 0.25]",
        "-0.50 [-0.50, -0.50]",
        "1.00 [1.00, 1.00]",
        "0.50 [0.50, 0.50]",
    ]
    header, _ = told["share of the optimum"]
    assert "forward transfer" in header


def test_a_world_without_success_has_no_such_table(tmp_path):
    none = [[None, None, None]] * 3
    one = group(tmp_path, success_matrix=none, success_any_matrix=none)
    assert list(continual.tables([one])) == ["share of the optimum"]


def test_a_run_from_before_success_was_kept_has_returns_alone(tmp_path):
    folder = make_run(tmp_path / "old", tasks=PREPARED)
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("success_matrix", "success_any_matrix", "prepares"):
        del summary[name]
    (folder / "summary.json").write_text(json.dumps(summary))
    (one,) = results.group_runs([results.load_run(folder)])
    assert list(continual.tables([one])) == ["share of the optimum"]
    assert one.first.prepares == 0


def test_a_family_names_the_method_that_learns_every_task_alone(tmp_path):
    runs = [
        results.load_run(
            make_run(tmp_path / f"{method}-{seed}", method, seed, preset="point-mass-quick",
                     tasks=PREPARED, prepares=1)
        )
        for method in ("dt-full", "dt-lora")
        for seed in range(2)
    ]  # fmt: skip
    full, lora = results.group_runs(runs)
    assert results.reference_of(full.first) == "dt-lora"
    reference = lora.stack("areas")[:, 1:].mean(0)
    told = ((full.stack("areas")[:, 1:] - reference) / (1 - reference)).mean(1)
    np.testing.assert_allclose(continual.forward(full, [full, lora]), told)
    assert continual.forward(full, [full]) is None
