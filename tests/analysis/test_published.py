import csv

import numpy as np
import pytest

from lib.analysis import published
from lib.envs.control.tasks import TASKS
from lib.envs.pixels.tasks import TASKS as SUITE


def write(path, *rows):
    header = "method,task,background,env_steps,mean_return,std,seeds,source"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def table(tmp_path):
    return write(
        tmp_path / "milestones.csv",
        "A,cheetah-run,,0,10.0,1.0,5,someone/code@abc results/a/cheetah-run.csv",
        "A,cheetah-run,,100000,500.0,20.4,3,someone/code@abc results/a/cheetah-run.csv",
        "B,cheetah-run,,0,0.0,0.0,3,someone/code@abc results/b/cheetah-run.csv",
        "A,cheetah-run-back,,0,7.0,0.0,3,someone/code@abc results/a/cheetah-run-back.csv",
    )


def test_a_task_has_one_curve_per_method_and_no_other_tasks_rows(table):
    first, second = published.curves("cheetah-run", path=table)
    assert (first.method, second.method) == ("A", "B")
    assert first.env_steps.tolist() == [0, 100_000] and first.seeds.tolist() == [5, 3]
    assert published.curves("cheetah-run-backwards", path=table) == ()


def test_between_milestones_a_return_lies_on_a_straight_line_and_beyond_them_nowhere(table):
    curve = published.curves("cheetah-run", path=table)[0]
    # a quarter of the way from 10 to 500
    assert curve.at(25_000) == pytest.approx(132.5)
    assert np.isnan(curve.at(100_001))
    cells = [curve.cell(steps) for steps in (100_000, 25_000, 200_000)]
    assert cells == ["500 ± 20", "~132", "–"]


def test_sources_are_named_once_with_their_folders(table):
    found = published.curves("cheetah-run", path=table) + published.curves(
        "cheetah-run-back", path=table
    )
    assert published.sources(found) == "someone/code@abc results/a, results/b"


def test_without_the_table_nothing_is_published(tmp_path):
    assert published.curves("cheetah-run", path=tmp_path / "none.csv") == ()


def test_pictures_have_curves_of_their_own_background(tmp_path):
    rows = [
        "P,cup_catch,plain,0,1.0,0.0,3,a@b c/d.json",
        "P,cup_catch,films,0,2.0,0.0,3,a@b c/e.json",
    ]
    table = write(tmp_path / "milestones.csv", *rows)
    assert [c.mean.tolist() for c in published.curves("cup_catch", path=table)] == [[1.0]]
    for moving in ("procedural:natural", "folder:films"):
        assert [c.mean.tolist() for c in published.curves("cup_catch", moving, table)] == [[2.0]]


def committed():
    with published.MILESTONES.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_committed_table_is_about_our_tasks_and_names_its_sources():
    rows = committed()
    keys = ("method", "task", "background", "env_steps")
    assert len({tuple(row[key] for key in keys) for row in rows}) == len(rows)
    for row in rows:
        assert "@" in row["source"]
        assert 0 <= float(row["mean_return"]) <= 1000 and int(row["seeds"]) >= 3
    states = [row for row in rows if not row["background"]]
    assert {row["task"] for row in states} <= set(TASKS)
    assert {row["method"] for row in states} == {"TD-MPC", "TD-MPC2", "SAC"}
    assert all(row["source"].endswith(f"/{row['task']}.csv") for row in states)


def test_the_committed_table_has_all_cells_of_dreamerpros_tables():
    rows = [row for row in committed() if row["source"].startswith("fdeng18/dreamer-pro@")]
    cells = {(row["method"], row["task"], row["background"]) for row in rows}
    assert {method for method, *_ in cells} == {"DreamerPro", "Dreamer", "TPC"}
    assert len(cells) == 3 * 6 * 2 and {task for _, task, _ in cells} <= set(SUITE)
    # milestones of the specification: 100,000 env steps of catching the ball
    at = {
        (r["method"], r["background"]): float(r["mean_return"])
        for r in rows
        if (r["task"], r["env_steps"]) == ("cup_catch", "100000")
    }
    found = [
        at[m, ground] for ground in ("plain", "films") for m in ("DreamerPro", "Dreamer", "TPC")
    ]
    assert found == pytest.approx([955, 170, 291, 112, 53, 21], abs=0.5)


def test_the_committed_table_has_dreamer_1_where_it_is_known_with_its_spread():
    rows = [row for row in committed() if row["method"] == "DreamerV1"]
    assert {row["source"] for row in rows} == {"danijar/dreamer@56d4d44 scores/dreamer.json"}
    assert {row["background"] for row in rows} == {published.PLAIN}
    assert {row["seeds"] for row in rows} == {"5"} and {row["task"] for row in rows} <= set(SUITE)
    # its own acceptance: walking pays 800 after 500,000 env steps and 900 after a million
    (walks,) = [c for c in published.curves("walker_walk") if c.method == "DreamerV1"]
    assert walks.at(505_000) > 800 and walks.at(1_005_000) > 900
    assert walks.cell(505_000) == "886 ± 28"
