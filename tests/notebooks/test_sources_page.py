"""Chapter 11 with a budget of seconds: however little was learnt, nothing is left out."""

import pytest

from lib.experiments import notebooks
from tests.notebooks.test_dreamer_pages import figures
from tests.notebooks.test_runs import printed

pytestmark = pytest.mark.usefixtures("figures_are_kept")
CHAPTER = notebooks.NOTEBOOKS / "11_several_sources.py"


def test_the_chapter_keeps_to_twenty_or_thirty_cells():
    assert 20 <= len(notebooks.read(CHAPTER).cells) <= 30


def test_it_runs_with_a_small_budget_and_without_published_numbers(tmp_path):
    params = {"source_steps": 1600, "seeds": 1, "updates": [2, 4], "published": "nowhere.json"}
    node = notebooks.run(params, tmp_path / "11.ipynb", CHAPTER)
    text = printed(node)
    assert "fraction: not attempted" in text and "columns: not attempted" in text
    assert "class MetaRewardHead(" in text and "After 4 updates: scratch" in text
    assert "Recurrent model of the source: advisers change the error after 4 updates" in text
    assert "Not run here yet" in text
    assert len(figures(node)) == 5
