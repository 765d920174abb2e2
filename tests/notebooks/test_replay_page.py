"""Chapter 05 with budgets of seconds, with and without the numbers of whole agents."""

import json
import re

import jupytext
import pytest

from lib.experiments import notebooks
from tests.notebooks.test_runs import printed

CHAPTER = notebooks.NOTEBOOKS / "05_replay_and_forgetting.py"
TASKS = ["doorkey-5x5", "lavagap-s5", "empty-random-5x5"]
# Returns after each task (rows) on each task: the first one is lost by half, or kept.
MATRICES = {
    "dreamer": [[0.8, None, None], [0.6, 0.7, None], [0.4, 0.5, 0.9]],
    "continual-dreamer": [[0.8, None, None], [0.8, 0.7, None], [0.8, 0.7, 0.9]],
}
STEPS = [0, 100, 200, 300]


def run_of(seed: int, matrix: list, monitored: bool) -> dict:
    """What a comparison keeps of one run, as far as the chapter reads it."""
    wrong = {f"audit/met-{TASKS[0]}/cells": 0.1 * (seed + 1)}
    found = {"seed": seed, "return_matrix": matrix, "audit": [wrong] * len(TASKS)}
    found["curves"] = {task: {"task_env_steps": [0, 100], "return": [0, 1]} for task in TASKS}
    if monitored:
        found["monitor"] = {TASKS[0]: {"env_steps": STEPS, "return": [0.0, 0.8, 0.6, 0.4]}}
    return found


def comparison(seeds: int = 3, monitored: bool = True) -> dict:
    return {
        label: {
            "tasks": TASKS,
            "optimum": dict.fromkeys(TASKS, 1.0),
            "runs": [run_of(seed, matrix, monitored) for seed in range(seeds)],
        }
        for label, matrix in MATRICES.items()
    }


def cells_that_read(path, folder):
    """The chapter without its training: the cells about whole agents, and what they need."""
    node = notebooks.read(CHAPTER)
    code = [cell for cell in node.cells if cell.cell_type == "code"]
    imports, whole = code[1].source.split("SMALLER")[0], []
    for cell in code:
        parameters = "parameters" in cell.metadata.get("tags", [])
        if parameters or re.search(r"^(told, matrices|if told)", cell.source, re.MULTILINE):
            whole.append(cell)
    whole[-1].source = whole[-1].source[whole[-1].source.index("if told:") :]  # "What we saw"
    code[1].source = imports
    node.cells = [whole[0], code[1], *whole[1:]]
    short = folder / "short.py"
    jupytext.write(node, short, fmt="py:percent")
    return printed(notebooks.run({"published": str(path)}, folder / "short.ipynb", short))


def test_the_chapter_runs_with_a_small_budget_and_says_what_is_missing(tmp_path):
    given = {"env_steps_per_task": 200, "updates_per_task": 12, "published": str(tmp_path / "no")}
    text = printed(notebooks.run(given, tmp_path / "05.ipynb", CHAPTER))
    assert "leaving: not attempted" in text and "recent_position: not attempted" in text
    assert "as predicted." in text  # the counted shares, whatever the budget
    assert "fifo: holds 0% of task A after task B" in text
    assert "python -m lib run dreamer-minigrid3-quick-seeds" in text
    assert "python -m lib compare" in text


@pytest.mark.parametrize("monitored", [True, False])
def test_whole_agents_are_read_from_a_comparison(tmp_path, monitored):
    path = tmp_path / "comparison.json"
    path.write_text(json.dumps(comparison(monitored=monitored)))
    text = cells_that_read(path, tmp_path)
    assert "| dreamer | 0.80 [0.80, 0.80] | 0.40 [0.40, 0.40] | 20.0% [10.0%, 30.0%] |" in text
    # Forgetting: (0.4 + 0.2 + 0) / 3, and nothing.
    assert "| 0.60 [0.60, 0.60] | 0.20 [0.20, 0.20] |" in text
    assert "| 0.80 [0.80, 0.80] | 0.00 [0.00, 0.00] |" in text
    assert "dreamer: of its return in doorkey-5x5, 0.40 [0.40, 0.40] was lost by the end" in text
    assert "continual-dreamer: of its return in doorkey-5x5, 0.00 [0.00, 0.00] was lost" in text
    assert "seed by seed: 0.40, 0.40, 0.40." in text


def test_a_single_seed_has_no_interval(tmp_path):
    path = tmp_path / "comparison.json"
    path.write_text(json.dumps(comparison(seeds=1)))
    assert "0.40 (1 seed, no interval)" in cells_that_read(path, tmp_path)
