"""The committed notebooks are those that their percent scripts describe."""

import re

import nbformat
import pytest

from lib.experiments import notebooks
from lib.workbook import book

SOURCES = sorted(notebooks.NOTEBOOKS.glob("*.py"))


def test_every_pair_agrees():
    assert book.check() == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_parameters_are_plain_values_that_papermill_can_read(path):
    cells = [
        cell for cell in notebooks.read(path).cells if "parameters" in cell.metadata.get("tags", [])
    ]
    assert len(cells) == 1
    lines = cells[0].source.splitlines()
    for line in lines:
        # An equals sign in the comment, or a union type, would hide the parameter.
        assert re.fullmatch(r"\w+: (str|int|float|bool|list|dict) = [^#=]*  # [^=]+", line), line
    assert len(notebooks.parameters(path)) == len(lines)


def test_chapters_keep_to_twenty_or_thirty_cells():
    assert 20 <= len(notebooks.read(notebooks.NOTEBOOKS / "00_start_here.py").cells) <= 30


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_built_notebooks_stay_small_and_carry_no_times(path):
    built = path.with_suffix(".ipynb")
    assert built.stat().st_size < 1_000_000
    for cell in nbformat.read(built, 4).cells:
        assert set(cell.metadata) <= {"tags", "nbmake"}
