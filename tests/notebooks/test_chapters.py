"""`make test` executes the chapters with nbmake, each in a new kernel, as a reader would."""

import shutil

import pytest

from lib.core.paths import ROOT
from lib.workbook import book
from tests.test_environment import make


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_every_chapter_is_executed_and_no_template():
    command = next(line for line in make("-n", "test").stdout.splitlines() if "--nbmake" in line)
    names = {word for word in command.split() if word.endswith(".ipynb")}
    chapters = {path for path in book.NOTEBOOKS.glob("*.py") if path.stem not in book.TEMPLATES}
    assert names == {str(path.with_suffix(".ipynb").relative_to(ROOT)) for path in chapters}
    assert "--nbmake" not in make("-n", "test", "ARGS=tests/runner").stdout
