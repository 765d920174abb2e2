"""Notebook 22 draws a bench file, and says in one line what it lacks."""

import json

import pytest

from lib.experiments import notebooks
from tests.analysis.test_bench import TOLD, row
from tests.notebooks.test_runs import printed

ROWS = [
    row("plans, 8 states, grid-quick"),
    row("updates, first task, grid-quick", 50.0, 100.0),
    row("seeds, first task, S = 5, grid-quick", share_of_peak=None),
    row("27 x 27 cells, 64 copies", share_of_peak=None),
    row("end to end, whole run, grid-quick", ratio=6.0, share_of_peak=None),
    row("ready, first task, nothing cached, grid-quick", None, 42.0, ratio=None),
    row("ready, first task, grid-quick", 2.0, 5.0, ratio=0.4),
    row("memory, grid-quick", 100.0, 200.0),
    row("plan, E = 1, grid-quick"),
    row("plan, E = 16, grid-quick", 16.0, 4.0),
    row("update, S = 2, grid-quick"),
    row("hours, 4 tasks, grid-quick", 0.2, 0.1),
    row("dreamer updates, minigrid3-quick", 120.0, 40.0, unit="ms", share_of_peak=None),
]


def drawn(folder, text):
    path = folder / "mine.json"
    path.write_text(text)
    params = {"file": str(path), "out_dir": str(folder / "figures")}
    node = notebooks.run(params, folder / "speed.ipynb", notebooks.SPEED)
    return printed(node), {path.stem for path in (folder / "figures").rglob("*.png")}


def test_every_question_gets_its_figure(tmp_path):
    text, figures = drawn(tmp_path, json.dumps(TOLD | {"rows": ROWS}))
    assert figures == {"ratios", "share_of_peak", "growth", "ready", "hours"}
    assert "4,000 updates of the first task win that back" in text
    assert "memory, grid-quick: 100 MiB plain, 200 MiB fast" in text
    assert "| times the plain path | at least 5 | 6 | yes |" in text
    assert "has no rows about" not in text


def test_a_file_of_a_few_rows_says_how_to_measure_the_others(tmp_path):
    text, figures = drawn(tmp_path, json.dumps(TOLD | {"rows": ROWS[3:4]}))
    assert figures == {"ratios"}
    for part in ("plans", "updates", "seeds", "whole", "growth", "ready", "hours", "dreamer"):
        assert f"make bench ARGS='--only {part}'" in text


@pytest.mark.parametrize("text", [json.dumps(TOLD | {"rows": [{"name": "x"}]}), "{"])
def test_a_file_of_another_layout_is_named_and_nothing_is_drawn(tmp_path, text):
    said, figures = drawn(tmp_path, text)
    assert "mine.json' " in said and "measure again with: make bench" in said
    assert figures == set()
