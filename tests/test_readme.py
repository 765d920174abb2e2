"""What the README promises is there."""

import json
import re
from pathlib import Path

from lib.algos.tdmpc.presets import METHODS
from tests.synthetic import make_run

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def fields() -> set[str]:
    """Names in the first column of the table of summary.json."""
    table = TEXT.split("`summary.json` holds")[1].split("\n## ")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return set(re.findall(r"`(\w+)`", " ".join(first)))


def test_every_method_is_named():
    listed = re.search(r"Methods: (.*?)\. A number", TEXT, re.DOTALL).group(1)
    assert set(re.findall(r"`([\w-]+)`", listed)) == set(METHODS)


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!http)([^)]+)\)", TEXT)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == [] and len(links) >= 5


def test_every_chapter_is_on_the_map_and_no_other():
    chapters = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
    assert set(re.findall(r"notebooks/(\w+)\.ipynb\)", TEXT)) == chapters


def test_every_field_of_the_summary_is_explained(tmp_path):
    summary = json.loads((make_run(tmp_path / "run") / "summary.json").read_text())
    assert fields() == set(summary)
