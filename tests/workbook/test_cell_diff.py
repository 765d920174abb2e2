from copy import deepcopy

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lib.workbook.cell_diff import UNTOUCHED, changes


@pytest.fixture
def old():
    printed = [new_output("stream", text="one\ntwo\n")]
    drawn = [new_output("display_data", {"image/png": "AAAA", "text/plain": "a figure"})]
    return new_notebook(
        cells=[
            new_markdown_cell("words"),
            new_code_cell("f()", outputs=printed, execution_count=1),
            new_code_cell("g()", outputs=drawn, execution_count=2),
        ]
    )


@pytest.fixture
def new(old):
    return deepcopy(old)


def test_alike_is_no_change(old, new):
    assert changes(old, new) == []


def test_another_result_of_the_same_source_was_computed_differently(old, new):
    new.cells[1].outputs[0].text = "one\nthree\n"
    new.cells[2].outputs[0].data["image/png"] = "BBBB"
    assert changes(old, new) == [
        f"cell 2 prints another line: 'three', was 'two' ({UNTOUCHED})",
        f"cell 3 shows another picture ({UNTOUCHED})",
    ]


def test_another_result_below_an_edited_cell_follows_from_it(old, new):
    new.cells[1].source = "f(1)"
    new.cells[2].outputs[0].data["text/plain"] = "another"
    assert changes(old, new) == [
        "cell 2 has another source: 'f(1)', was 'f()'",
        "cell 3 prints another line: 'another', was 'a figure' (after cell 2 was edited)",
    ]


def test_edited_words_change_no_result(old, new):
    new.cells[0].source = "other words"
    new.cells[2].outputs[0].data["image/png"] = "BBBB"
    assert changes(old, new)[-1] == f"cell 3 shows another picture ({UNTOUCHED})"


def test_other_counts_are_told(old, new):
    new.cells[1].outputs.append(new.cells[1].outputs[0])
    new.cells.append(new_code_cell("h()"))
    assert changes(old, new) == [
        "4 cells, there were 3",
        f"cell 2 leaves 2 results, there were 1 ({UNTOUCHED})",
    ]


def test_what_lies_around_results_is_told_too(old, new):
    new.cells[2].outputs[0].metadata["workbook"] = {"film": "abc"}
    assert "another note on a result" in changes(old, new)[0]
    again = deepcopy(old)
    again.cells[0].metadata["tags"] = ["x"]
    assert changes(old, again) == ["cell 1 has another id, number or tag"]
    again = deepcopy(old)
    again.metadata["kernelspec"] = {"name": "x"}
    assert changes(old, again) == ["what the file says about itself, none of its cells"]


def test_long_lines_are_cut(old, new):
    new.cells[1].outputs[0].text = "x" * 500
    assert len(changes(old, new)[0]) < 250
