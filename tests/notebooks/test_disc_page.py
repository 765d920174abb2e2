"""Chapter 08 with a budget of seconds: however little was learnt, nothing is left out."""

import pytest

from lib.experiments import notebooks
from tests.notebooks.test_dreamer_pages import figures
from tests.notebooks.test_runs import printed

pytestmark = pytest.mark.usefixtures("figures_are_kept")
CHAPTER = notebooks.NOTEBOOKS / "08_beyond_pixels.py"


def test_the_chapter_keeps_to_twenty_or_thirty_cells():
    assert 20 <= len(notebooks.read(CHAPTER).cells) <= 30


def test_it_runs_with_a_small_budget_and_without_published_numbers(tmp_path):
    params = {"episodes": 3, "test_episodes": 2, "updates": 4, "published": "nowhere.json"}
    node = notebooks.run(params, tmp_path / "08.ipynb", CHAPTER)
    text = printed(node)
    assert "sinkhorn: not attempted" in text and "info_nce: not attempted" in text
    assert "def linear_probe(" in text and "def swapped_assignment_loss(" in text
    assert "ln 32 = 3.47" in text and "Not run here yet" in text
    bodies = 0 if "No bodies are shown here" in text else 1
    assert len(figures(node)) == 4 + bodies
