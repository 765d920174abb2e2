"""What looks at runs and agents asks what they can do, never which family they are of."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASKING = re.compile(r"\.family\b|isinstance\([^)]*(Run|Agent|Config)\)|get\(\"family\"")
READERS = [
    path
    for folder in ("analysis", "plotting", "viewer")
    for path in sorted((ROOT / "lib" / folder).rglob("*.py"))
] + [ROOT / "notebooks" / f"{name}.py" for name in ("20_run", "21_compare", "22_speed")]


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.stem)
def test_nobody_asks_for_a_family(path):
    assert not ASKING.findall(path.read_text())
