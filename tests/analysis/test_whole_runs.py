"""Measures of whole runs, worked out by hand."""

import json

import numpy as np
import pytest

from lib.analysis import results, whole_runs
from lib.analysis.published import Curve
from tests.synthetic import make_body_run

TASK = "cheetah-run"


def made(folder, seed, steps, returns, config=""):
    curves = {TASK: {"task_env_steps": steps, "return": returns}}
    out = make_body_run(folder, "tdmpc", seed, tasks=(TASK,), curves=curves)
    if config:
        (out / "config.yaml").write_text(config)
    return results.load_run(out)


def test_overall_counts_every_evaluation_alike_and_the_area_their_distance():
    steps, returns = np.array([0.0, 10.0, 40.0]), np.array([0.0, 6.0, 12.0])
    found = whole_runs.measured([steps], [returns])
    assert found.overall.of_runs.tolist() == [6.0]  # (0 + 6 + 12) / 3
    # trapezia (0 + 6) / 2 over 10 and (6 + 12) / 2 over 30 steps: (30 + 270) / 40
    assert found.area.tolist() == [7.5]
    assert found.final.tolist() == [12.0]


@pytest.mark.parametrize(("many", "last"), [(1, 1), (9, 1), (10, 1), (19, 1), (20, 2), (29, 2)])
def test_the_last_tenth_is_rounded_down_to_one_evaluation_at_least(many, last):
    returns = np.arange(many, dtype=float)
    found = whole_runs.measured([returns], [returns])
    assert found.last.returns.shape == (1, last)
    assert found.last.of_runs[0] == pytest.approx(returns[-last:].mean())


def test_runs_and_evaluations_are_pooled_and_runs_have_an_interval_of_their_own():
    curves = [np.array([0.0, 2.0]), np.array([4.0, 6.0]), np.array([8.0, 10.0])]
    found = whole_runs.measured([np.array([0.0, 1.0])] * 3, curves)
    # of 0, 2, 4, 6, 8, 10: mean 5, variance (25 + 9 + 1 + 1 + 9 + 25) / 6
    assert found.overall.text == "5.0 ± 3.4"
    assert found.overall.of_runs.tolist() == [1.0, 5.0, 9.0]
    # with three seeds the interval is their range
    assert found.overall.estimate.text(".1f") == "5.0 [1.0, 9.0]"
    assert found.last.text == "6.0 ± 3.3" and len(found.cells()) == len(whole_runs.HEADER)


def test_a_short_run_goes_on_with_its_last_evaluation_but_its_area_ends_with_it():
    steps = [np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0])]
    found = whole_runs.measured(steps, [np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.0, 4.0])])
    assert found.overall.of_runs.tolist() == [1.5, 3.5]  # (2 + 4 + 4 + 4) / 4
    assert found.area.tolist() == [1.5, 3.0]


def test_rows_say_what_runs_began_with_and_published_curves_follow_at_our_steps(tmp_path):
    steps = [0, 50, 100]
    told = "load_mode: world-model\nload_from: outputs/drago-cheetah-quick-s{seed}\n"
    runs = [
        made(tmp_path / "a", 0, steps, [0.0, 10.0, 20.0]),
        made(tmp_path / "b", 1, steps, [2.0, 12.0, 22.0]),
        made(tmp_path / "c", 0, steps, [9.0, 9.0, 9.0], told),
    ]
    groups = results.group_runs(runs)
    numbers = (np.array(part, float) for part in ([0, 200], [0, 100], [1, 9], [3, 3]))
    curve = Curve("Others", TASK, *numbers, source="a@b c/d.csv")
    header, rows = whole_runs.table(groups, TASK, [curve])
    assert len(header) == len(rows[0]) and all(len(row) == len(header) for row in rows)
    by_label = {row[0]: row[1:] for row in rows}
    assert by_label["tdmpc (from nothing)"][:3] == ["nothing", "–", "11.0 ± 8.2"]
    assert by_label["tdmpc (world-model)"][:2] == ["world-model", "drago-cheetah-quick"]
    # the line from 0 to 100 over 200 steps: 25 on average up to 100, 47.5 over the last ten of it
    assert by_label["Others, published (3 runs)"] == [
        "nothing", "–", "~25", "~48", "–", "–", "~25", "~50",
    ]  # fmt: skip
    header, rows = whole_runs.by_run(groups, TASK)
    assert [row[:2] for row in rows] == [
        ["tdmpc (from nothing)", "0"],
        ["tdmpc (from nothing)", "1"],
        ["tdmpc (world-model)", "0"],
    ]
    assert rows[1][2:] == ["12.0", "22.0", "12.0", "22.0"]


def test_a_task_without_evaluations_has_no_row(tmp_path):
    groups = results.group_runs([made(tmp_path / "a", 0, [0, 1], [1.0, 2.0])])
    assert whole_runs.of_group(groups[0], "cheetah-jump") is None
    assert whole_runs.table(groups, "cheetah-jump")[1] == []
    assert whole_runs.by_run(groups, "cheetah-jump")[1] == []


def test_a_comparison_keeps_both_measures_as_data(tmp_path):
    runs = [made(tmp_path / str(seed), seed, [0, 1], [seed, seed + 2.0]) for seed in range(3)]
    told = json.loads(json.dumps(results.comparison(results.group_runs(runs)), allow_nan=False))
    (group,) = told.values()
    overall = group["whole_runs"][TASK]["overall"]
    # of 0, 2, 1, 3, 2, 4: mean 2, variance (4 + 0 + 1 + 1 + 0 + 4) / 6
    assert (overall["point"], overall["low"], overall["high"]) == (2.0, 1.0, 3.0)
    assert overall["std_over_evaluations"] == pytest.approx((10 / 6) ** 0.5)
    assert group["whole_runs"][TASK]["final 10 %"]["point"] == 3.0
