"""Only what the workbook wrote is removed, and comparisons go to folders of their own."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from lib import cli
from lib.core.paths import NOTEBOOKS, ROOT
from lib.experiments import cleaning, folders
from lib.experiments.locks import alone_in
from lib.runner import contents, training
from tests.synthetic import make_run
from tests.tiny import tiny

PRECIOUS = "three years of work"


@pytest.fixture(autouse=True)
def no_notebooks(outputs, monkeypatch):
    """Nothing is executed, and runs go to a folder of the test's own."""
    monkeypatch.setattr("lib.experiments.notebooks.run", drawn)


def drawn(parameters, target, notebook) -> None:
    """Stands in for the notebook that compares: its files are there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in ("compare.ipynb", "comparison.json", "kernel.log", "learning_curves.png"):
        (target.parent / name).touch()
    (target.parent / "world-2").mkdir(exist_ok=True)
    (target.parent / "world-2" / "accuracy_maps_1.png").touch()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A finished run with all that training leaves, films too."""
    out = tmp_path_factory.mktemp("made") / "mine-s0"
    cfg = tiny("drago", tasks=["room-1"], budget__env_steps_per_task=28)
    training.train(cfg, out, tensorboard=True, progress=False, video="final")
    for name in (contents.LAUNCH_LOCK, contents.KERNEL_LOG, contents.NOTEBOOK, contents.STOP):
        (out / name).touch()
    return out


@pytest.fixture
def run(made, outputs) -> Path:
    return shutil.copytree(made, outputs / made.name)


@pytest.fixture
def notes(tmp_path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "thesis.txt").write_text(PRECIOUS)
    return folder


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def main(*arguments) -> int:
    return cli.main([str(part) for part in arguments])


def refused(capsys, *arguments) -> str:
    assert main(*arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


# comparisons ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("notes", "holds other things than a comparison (thesis.txt); choose another folder"),
        ("outputs", "give it a folder of its own, such as '--out "),
        (ROOT, "give it a folder of its own"),
        (".", "holds other things than a comparison (notes/thesis.txt, nowhere, outputs/mine"),
        ("outputs/mine-s0", "holds other things than a comparison (audits/task-1.npz"),
        ("outputs/mine-s0/figures", "lies in the folder of the run 'mine-s0'"),
        ("outputs/mine-s0/new/deep", "lies in the folder of the run 'mine-s0'"),
        ("notes/thesis.txt", "is no folder; choose another one"),
        ("nowhere", "is no folder; choose another one"),
    ],
)
def test_a_comparison_goes_to_a_folder_of_its_own(
    run, notes, outputs, tmp_path, capsys, place, message
):
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    finished = make_run(outputs / "synthetic-s0")
    before = everything(tmp_path)
    assert message in refused(capsys, "compare", finished, "--out", tmp_path / place)
    assert everything(tmp_path) == before


def test_a_comparison_is_drawn_again_where_it_was_and_removed_as_a_whole(outputs, capsys):
    make_run(outputs / "a-s0")
    for _ in range(2):
        assert main("compare", "a-s0", "--out", outputs / "mine") == 0
    assert main("clean", "mine", "--yes") == 0
    assert [path.name for path in outputs.iterdir()] == ["a-s0"]


# clean ---------------------------------------------------------------------------------------


def test_what_else_a_folder_holds_stays_and_is_named(notes, capsys):
    drawn({}, notes / "compare.ipynb", "")
    (notes / "world-2" / "photo.jpg").touch()
    (notes / "config.yaml").write_text("title: not a run's")
    assert main("clean", notes, "--yes") == 0
    assert {str(path.relative_to(notes)) for path in everything(notes)} == {
        *("thesis.txt", "config.yaml", "world-2", "world-2/photo.jpg")
    }
    printed = capsys.readouterr().out
    assert "removes comparison.json, kernel.log, learning_curves.png, world-2/, comp" in printed
    assert "stays, as the workbook did not write it: config.yaml, thesis.txt, world-2/" in printed
    assert f"'{notes}' stays for what else it holds: config.yaml, thesis.txt, world-2/" in printed


def test_a_run_leaves_nothing_that_clean_does_not_know(run, capsys):
    assert main("clean", run, "--yes") == 0
    assert not run.exists() and capsys.readouterr().out.endswith("removed 1\n")


def test_notes_in_a_run_stay(run, capsys):
    mine = (run / "notes.md", run / "figures" / "mine.png", run / "checkpoints" / "mine.pt")
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text(PRECIOUS)
    (run / "videos" / "linked").symlink_to(run.parent)
    assert main("clean", run, "--yes") == 0
    left = {path for path in everything(run) if path.is_symlink() or not path.is_dir()}
    assert left == {*mine, run / "videos" / "linked"}


@pytest.mark.parametrize("drawn_there", [False, True])
def test_the_folder_of_all_runs_is_never_removed(run, outputs, capsys, drawn_there):
    (outputs / "published").mkdir()
    (outputs / "published" / "table.csv").write_text(PRECIOUS)
    before = everything(outputs)
    if drawn_there:  # as earlier versions allowed
        drawn({}, outputs / "compare.ipynb", "")
        assert main("clean", outputs, "--yes") == 0
        assert "stays for what else it holds: mine-s0/, published/" in capsys.readouterr().out
    else:
        assert "holds other things than a run" in refused(capsys, "clean", outputs, "--yes")
    assert everything(outputs) == before


def test_one_folder_twice_is_removed_once(run, capsys, monkeypatch):
    monkeypatch.chdir(run.parent)
    assert main("clean", "mine-s0", run, "./mine-s0/../mine-s0", "--yes") == 0
    assert capsys.readouterr().out.endswith("removed 1\n") and not run.exists()


def test_a_folder_and_one_inside_it_are_removed_together(run, outputs, capsys):
    inner = outputs / "compared" / "inner"
    drawn({}, outputs / "compared" / "compare.ipynb", "")
    run.rename(inner)
    assert main("clean", "compared", "compared/inner", "--yes") == 0
    printed = capsys.readouterr().out
    assert "stay" not in printed and printed.endswith("removed 2\n")
    assert not any(outputs.iterdir())


@pytest.mark.parametrize("place", [".", "checkpoints"])
def test_nobody_is_left_in_a_folder_that_is_gone(run, capsys, monkeypatch, place):
    monkeypatch.chdir(run / place)
    before = everything(run)
    assert "you are in" in refused(capsys, "clean", run if place != "." else ".", "--yes")
    assert everything(run) == before


def test_links_are_neither_followed_nor_removed(run, notes, outputs, capsys):
    (outputs / "dangling").symlink_to("gone")
    (outputs / "outward").symlink_to(notes)
    assert "unknown run 'dangling'" in refused(capsys, "clean", "dangling", "--yes")
    assert "is a link" in refused(capsys, "clean", "outward", "--yes")
    shutil.rmtree(run / "audits")
    (run / "audits").symlink_to(notes)
    (run / "config.yaml").rename(notes / "config.yaml")
    (run / "config.yaml").symlink_to(notes / "config.yaml")
    assert main("clean", run, "--yes") == 0
    assert [path.name for path in sorted(run.iterdir())] == ["audits", "config.yaml"]
    assert (notes / "thesis.txt").read_text() == PRECIOUS and (notes / "config.yaml").exists()


def test_a_run_in_use_stays(run, capsys):
    before = everything(run)
    with alone_in(run):
        assert "is in use by another process" in refused(capsys, "clean", run, "--yes")
    plans = cleaning.plan([run])
    with alone_in(run), pytest.raises(cli.UserError, match="in use"):
        cleaning.remove(plans)
    assert everything(run) == before


def test_what_a_deletion_left_behind_can_be_removed(run, capsys):
    (run / "config.yaml").unlink()
    (run / "summary.json").unlink()
    assert main("clean", run, "--yes") == 0
    assert not run.exists()


def test_an_interrupted_removal_is_taken_up_again(run, monkeypatch, capsys):
    real, done = cleaning._remove, []

    def remove(path):
        done.append(path)
        if len(done) > 5:
            raise KeyboardInterrupt
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(cleaning, "_remove", remove)
        assert main("clean", run, "--yes") == 130
    assert (run / "config.yaml").is_file()  # which goes last, so that the rest is known for ours
    assert main("clean", run, "--yes") == 0 and not run.exists()


def test_what_may_not_be_removed_is_said_in_one_line(run, capsys, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert "cannot remove '" in refused(capsys, "clean", run, "--yes")


def test_a_project_of_somebody_else_is_not_touched(notes, capsys):
    (notes / "config.yaml").write_text(yaml.safe_dump({"lr": 1}))
    (notes / "metrics.jsonl").write_text("{}\n")
    (notes / "checkpoints").mkdir()
    (notes / "checkpoints" / "last.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    before = everything(notes)
    assert "remove it yourself" in refused(capsys, "clean", notes, "--yes")
    assert everything(notes) == before and folders.kinds(notes) == []


# names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notebook", "kind", "folder"),
    [
        ("20_run", contents.RUN, "figures/"),
        ("20_run", contents.SEVERAL, "figures/"),
        ("10_transfer", contents.STUDY, "figures/"),
        ("21_compare", contents.COMPARED, ""),
        ("21_compare", contents.COMPARED, "world-1/"),
    ],
)
def test_the_names_of_all_that_notebooks_write_are_known(notebook, kind, folder):
    source = (NOTEBOOKS / f"{notebook}.py").read_text()
    saved = re.findall(r'charts\.save\([^"\n]+"([^"]+)"\)', source)
    assert len(saved) == source.count("charts.save(") > 2
    figures = [folder + re.sub(r"\{.+?\}", "12", name) for name in saved]
    others = re.findall(r'folder / "([^"]+\.(?:json|md|csv))"', source)
    assert all(kind.written.fullmatch(name) for name in (*figures, *others))
    assert not kind.written.fullmatch(f"{folder}mine.png")
