import json
import re
from pathlib import Path

import nbformat
import pytest
from papermill.exceptions import PapermillExecutionError

from lib.core.errors import UserError
from lib.core.paths import ROOT
from lib.experiments import notebooks
from lib.workbook import book

PARAMETERS = """\
# %% tags=["parameters"]
seed: int = 0  # a seed
rate: float = 0.1
fast: bool = True
name: str = "x"
tasks: list = []  # names
overrides: dict = {}
loose = None
"""
CHAPTER = f"""\
# %% [markdown]
# # A chapter

{PARAMETERS}
# %%
import sys

print("one", flush=True)
print("two", flush=True)
print("to stderr", file=sys.stderr)
seed + 1

# %%
"""
VIEW = """\
import numpy as np
from lib import viewer
viewer.scrub(np.zeros((2, 4, 4, 3), np.uint8))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "01_chapter.py").write_text(CHAPTER)
    (tmp_path / "20_run.py").write_text(CHAPTER)
    return tmp_path


@pytest.fixture(autouse=True)
def _films_stay_here(tmp_path, monkeypatch):
    monkeypatch.setitem(book.build.__kwdefaults__, "films", tmp_path / "films")


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


# Running -------------------------------------------------------------------------------------


def test_parameters_are_read_with_their_types(folder):
    assert notebooks.parameters(folder / "01_chapter.py") == {
        "seed": "int",
        "rate": "float",
        "fast": "bool",
        "name": "str",
        "tasks": "list",
        "overrides": "dict",
        "loose": "",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sede": 1}, "unknown parameter 'sede'; known: .*did you mean 'seed'.*01_chapter.py"),
        ({"seed": "1"}, "parameter 'seed': got '1' of type str, wanted int"),
        ({"seed": True}, "got True of type bool, wanted int"),
        ({"seed": 1.0}, "of type float, wanted int"),
        ({"rate": "1e-4"}, r"wanted float \(YAML reads 1e-4 as text: write 1.0e-4\)"),
        ({"fast": 1}, "wanted bool"),
        ({"tasks": "room-1"}, "wanted list"),
        ({"overrides": []}, "wanted dict"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(folder, given, message):
    with pytest.raises(UserError, match=message):
        notebooks.run(given, folder / "out.ipynb", folder / "01_chapter.py")
    assert not (folder / "out.ipynb").exists()


def test_fitting_parameters_pass():
    notebooks.check_parameters(
        {"a": 1, "b": 1, "c": [1], "d": [1, "two"], "e": "x"},
        {"a": "int", "b": "float", "c": "list[int]", "d": "", "e": "str"},
    )


def test_the_kernel_is_this_interpreter_in_the_root_whatever_is_registered(folder, monkeypatch):
    fake = folder / "jupyter" / "kernels" / "python3"
    fake.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "another", "language": "python"}
    (fake / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    monkeypatch.chdir(folder)
    source = folder / "where.py"
    source.write_text(PARAMETERS + "\n# %%\nimport os, sys\nprint([sys.executable, os.getcwd()])\n")
    node = notebooks.run({"tasks": [{"a": [1]}]}, "deep/er/{out}.ipynb", source)
    import sys

    assert node.cells[-1].outputs[0].text == f"{[sys.executable, str(ROOT)]}\n"
    saved = nbformat.read(folder / "deep" / "er" / "{out}.ipynb", 4)
    assert 'tasks = [{"a": [1]}]' in saved.cells[1].source


def test_a_failed_run_leaves_the_marked_notebook(folder):
    source = folder / "01_chapter.py"
    edit(source, "seed + 1", "seed / 0")
    with pytest.raises(PapermillExecutionError) as caught:
        notebooks.run({}, folder / "out.ipynb", source)
    assert caught.value.ename == "ZeroDivisionError"
    assert "papermill-error-cell" in (folder / "out.ipynb").read_text()


def test_a_missing_notebook_is_guessed(folder):
    with pytest.raises(UserError, match=r"unknown notebook '01_chapte.py'.*did you mean"):
        notebooks.run({}, folder / "out.ipynb", folder / "01_chapte.py")


# Building ------------------------------------------------------------------------------------


def test_building_twice_gives_the_same_bytes(folder):
    first = [path.read_bytes() for path in book.build(folder=folder)]
    second = [path.read_bytes() for path in book.build(folder=folder)]
    assert first == second
    chapter = nbformat.read(folder / "01_chapter.ipynb", 4)
    nbformat.validate(chapter)
    assert [cell.id for cell in chapter.cells] == ["cell-01", "cell-02", "cell-03", "cell-04"]
    outputs = chapter.cells[2].outputs
    assert [output.get("text") for output in outputs] == ["one\ntwo\n", "to stderr\n", None]
    assert outputs[2].data == {"text/plain": "1"}
    assert chapter.metadata.keys() == {"kernelspec", "language_info"}
    assert chapter.cells[1].metadata == {"tags": ["parameters"]}
    for word in ("papermill", "jupytext", "version", str(ROOT), "iopub"):
        assert word not in first[0].decode()
    assert book.check(folder=folder) == []


def test_templates_stay_unexecuted(folder):
    book.build(["20_run"], folder)
    node = nbformat.read(folder / "20_run.ipynb", 4)
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in node.cells)
    assert not (folder / "01_chapter.ipynb").exists()


@pytest.mark.parametrize("printed", ["__import__('lib').__file__", "object()"])
def test_an_output_that_differs_elsewhere_is_refused(folder, printed):
    edit(folder / "01_chapter.py", "seed + 1", printed)
    with pytest.raises(UserError, match="chapter 01_chapter, cell 3 prints"):
        book.build(["01_chapter"], folder)
    assert not (folder / "01_chapter.ipynb").exists()


def test_a_failing_chapter_keeps_its_old_notebook(folder):
    (folder / "01_chapter.ipynb").write_text("old")
    edit(folder / "01_chapter.py", "seed + 1", "seed / 0")
    wanted = "chapter 01_chapter, cell 3 failed: ZeroDivisionError: division by zero\n.*import sys"
    with pytest.raises(UserError, match=wanted):
        book.build(["01_chapter"], folder)
    assert (folder / "01_chapter.ipynb").read_text() == "old"


def test_a_chapter_whose_process_dies_is_told_apart(folder):
    edit(folder / "01_chapter.py", "seed + 1", "__import__('os')._exit(1)")
    with pytest.raises(UserError, match="cell 3 failed: its process died"):
        book.build(["01_chapter"], folder)
    assert not (folder / "01_chapter.ipynb").exists()


def test_building_says_what_came_out_differently(folder):
    def told():
        lines = []
        book.build(["01_chapter"], folder, say=lines.append)
        return lines

    first, again = told(), told()
    assert first[0] == again[0] == "01_chapter (1 of 1)"
    assert re.fullmatch(r"  \d+ s, changed:", first[1]) and first[2] == "    new"
    assert re.fullmatch(r"  \d+ s, as it was", again[1]) and len(again) == 2
    edit(folder / "01_chapter.py", "seed + 1", "seed + 2")
    assert told()[2] == "    cell 3 has another source: 'seed + 2', was 'seed + 1'"


def test_views_leave_their_films_where_they_are_told(folder, tmp_path):
    edit(folder / "01_chapter.py", "seed + 1", VIEW)
    book.build(["01_chapter"], folder, films=tmp_path / "films")
    output = nbformat.read(folder / "01_chapter.ipynb", 4).cells[2].outputs[-1]
    film = output.metadata["workbook"]["film"]
    assert [path.name for path in (tmp_path / "films").iterdir()] == [f"{film}.json"]


def test_an_unknown_chapter_is_guessed(folder):
    with pytest.raises(UserError, match="did you mean '01_chapter'"):
        book.build(["01_chaptre"], folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed + 1", "seed + 2", "cell 3 has another source than in 20_run.py"),
        ('tags=["parameters"]', "", "cell 2 has other tags than in 20_run.py"),
        ("# %%\nimport sys", "import sys", "4 cells, 20_run.py has 3"),
        ("# %% [markdown]\n# # A chapter\n", "# %%\n1\n", "cell 1 has another cell type than"),
    ],
)
def test_an_edited_source_shows_in_the_check(folder, old, new, message):
    book.build(["20_run"], folder)
    edit(folder / "20_run.py", old, new)
    problems = book.check(["20_run"], folder)
    assert any(message in line for line in problems)
    assert all(line.endswith("; run 'make book'") and "\n" not in line for line in problems)


def test_missing_halves_and_wrong_outputs_show_in_the_check(folder):
    book.build(["20_run"], folder)
    (folder / "30_alone.ipynb").write_text("{}")
    problems = "\n".join(book.check(folder=folder))
    assert "01_chapter.py: no 01_chapter.ipynb beside it" in problems
    assert "30_alone.ipynb: no 30_alone.py beside it" in problems
    node = nbformat.read(folder / "20_run.ipynb", 4)
    node.cells[2].execution_count = 1
    node.cells[2].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]
    nbformat.write(node, folder / "20_run.ipynb")
    nbformat.write(book.tidy(notebooks.read(folder / "20_run.py")), folder / "01_chapter.ipynb")
    problems = "\n".join(book.check(folder=folder))
    assert "20_run.ipynb: cell 3 holds an error" in problems
    assert "20_run.ipynb: cell 3 is executed" in problems
    assert "01_chapter.ipynb: cell 2 is not executed" in problems


def test_the_command_line_reports_problems_with_its_exit_code(capsys):
    assert book.main(["check", "no-such-chapter"]) == 1
    assert "unknown chapter 'no-such-chapter'" in capsys.readouterr().err
