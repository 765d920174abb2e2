"""Chapters 02 and 03 with budgets of seconds: however little was learnt, nothing is left out."""

import pytest

from lib.experiments import notebooks
from tests.notebooks.test_runs import printed

pytestmark = pytest.mark.usefixtures("figures_are_kept")
CHAPTERS = ("02_world_models", "03_imagination")


def figures(node):
    """How many pictures each code cell leaves behind, those without any left out."""
    outputs = [cell.get("outputs", []) for cell in node.cells]
    counts = [sum("image/png" in o.get("data", {}) for o in mine) for mine in outputs]
    return [count for count in counts if count]


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapters_keep_to_twenty_or_thirty_cells(name):
    assert 20 <= len(notebooks.read(notebooks.NOTEBOOKS / f"{name}.py").cells) <= 30


def test_world_models_runs_with_a_small_budget(tmp_path):
    params = {"episodes": 4, "held_out": 8, "updates": 12}
    node = notebooks.run(params, tmp_path / "02.ipynb", notebooks.NOTEBOOKS / "02_world_models.py")
    text = printed(node)
    assert "balanced_kl: not attempted" in text and "straight_through: not attempted" in text
    assert "| reconstruction | 259.13 |" in text  # what an untrained model must give
    assert "| turns |" in text and "def balanced_kl(" in text
    assert figures(node) == [1, 1, 1, 1, 1]


def test_imagination_runs_with_a_small_budget(tmp_path):
    params = {"env_steps": 240, "out_dir": str(tmp_path / "runs")}
    node = notebooks.run(params, tmp_path / "03.ipynb", notebooks.NOTEBOOKS / "03_imagination.py")
    text = printed(node)
    assert "lambda_return: not attempted" in text and "reinforce_objective: not attempted" in text
    assert "the best possible is 0.955" in text
    assert "did you mean 'CartPole-v1'" in text and "CartPole-v1: 2 discrete, returns" in text
    assert figures(node) == [1, 1, 1, 1]  # among them the still that stands for the film
    assert (tmp_path / "runs" / "dreamer-s0" / "summary.json").is_file()
