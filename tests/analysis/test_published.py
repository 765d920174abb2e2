import csv

import numpy as np
import pytest

from lib.analysis import published
from lib.envs.control.tasks import TASKS


def write(path, *rows):
    header = "method,task,env_steps,mean_return,std,seeds,source"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def table(tmp_path):
    return write(
        tmp_path / "milestones.csv",
        "A,cheetah-run,0,10.0,1.0,5,someone/code@abc results/a/cheetah-run.csv",
        "A,cheetah-run,100000,500.0,20.4,3,someone/code@abc results/a/cheetah-run.csv",
        "B,cheetah-run,0,0.0,0.0,3,someone/code@abc results/b/cheetah-run.csv",
        "A,cheetah-run-back,0,7.0,0.0,3,someone/code@abc results/a/cheetah-run-back.csv",
    )


def test_a_task_has_one_curve_per_method_and_no_other_tasks_rows(table):
    first, second = published.curves("cheetah-run", table)
    assert (first.method, second.method) == ("A", "B")
    assert first.env_steps.tolist() == [0, 100_000] and first.seeds.tolist() == [5, 3]
    assert published.curves("cheetah-run-backwards", table) == ()


def test_between_milestones_a_return_lies_on_a_straight_line_and_beyond_them_nowhere(table):
    curve = published.curves("cheetah-run", table)[0]
    # a quarter of the way from 10 to 500
    assert curve.at(25_000) == pytest.approx(132.5)
    assert np.isnan(curve.at(100_001))
    cells = [curve.cell(steps) for steps in (100_000, 25_000, 200_000)]
    assert cells == ["500 ± 20", "~132", "–"]


def test_sources_are_named_once_with_their_folders(table):
    found = published.curves("cheetah-run", table) + published.curves("cheetah-run-back", table)
    assert published.sources(found) == "someone/code@abc results/a, results/b"


def test_without_the_table_nothing_is_published(tmp_path):
    assert published.curves("cheetah-run", tmp_path / "none.csv") == ()


def test_the_committed_table_is_about_our_tasks_and_names_its_sources():
    with published.MILESTONES.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["task"] for row in rows} <= set(TASKS)
    assert {row["method"] for row in rows} == {"TD-MPC", "TD-MPC2", "SAC"}
    assert len({(row["method"], row["task"], row["env_steps"]) for row in rows}) == len(rows)
    for row in rows:
        assert row["source"].endswith(f"/{row['task']}.csv") and "@" in row["source"]
        assert 0 <= float(row["mean_return"]) <= 1000 and int(row["seeds"]) >= 3
    for task in {row["task"] for row in rows}:
        for curve in published.curves(task):
            assert curve.env_steps[0] == 0 and (np.diff(curve.env_steps) > 0).all()


# Mean and standard deviation of TD-MPC at hundreds of thousands of steps, computed from its result
# files another time, apart from the table.
TDMPC = {
    "cheetah-run": {1: (532, 221), 5: (824, 99), 6: (866, 54), 10: (830, 97), 20: (898, 9)},
    "cheetah-jump": {1: (390, 153), 5: (794, 21), 6: (809, 11), 10: (810, 2), 20: (808, 19)},
    "cheetah-run-backwards": {1: (586, 21), 5: (601, 38), 6: (619, 23), 10: (619, 21)},
    "walker-run": {1: (745, 6), 5: (820, 8), 6: (823, 3), 10: (824, 8), 20: (830, 7)},
    "walker-walk": {1: (964, 7), 5: (978, 4), 6: (981, 2), 10: (978, 4), 20: (978, 2)},
    "walker-walk-backwards": {1: (957, 9), 5: (977, 5), 6: (977, 2), 10: (980, 5), 20: (978, 2)},
    "walker-stand": {1: (976, 3), 5: (994, 1), 6: (988, 3), 10: (992, 3), 20: (755, 403)},
}


@pytest.mark.parametrize("task", TDMPC)
def test_the_committed_table_agrees_with_the_files_it_was_made_from(task):
    curve = published.curves(task)[0]
    for steps, (mean, std) in TDMPC[task].items():
        index = curve.env_steps.tolist().index(steps * 100_000)
        assert (curve.mean[index], curve.std[index]) == pytest.approx((mean, std), abs=0.51)


def test_five_runs_are_counted_where_there_were_five():
    curve = published.curves("cheetah-run-backwards")[0]
    # 565.0, 605.7, 601.1, 560.5 and 596.4 at 100,000 steps
    assert (curve.mean[1], curve.std[1], curve.seeds[1]) == pytest.approx((585.7, 21.3, 5), abs=0.1)
    assert curve.seeds[-1] == 3
