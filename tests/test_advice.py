"""Whatever is damaged in a run's folder, following what is printed leads to a finished run."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lib import cli
from lib.experiments import folders
from lib.runner import checkpoint, loop, saved, training
from lib.runner.run_folder import RunFolder
from tests import in_process


@pytest.fixture(autouse=True)
def one_pace(monkeypatch):
    monkeypatch.setattr(loop, "CHUNK_SECONDS", float("inf"))
    monkeypatch.setattr(loop, "SAVE_SECONDS", float("inf"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Folders of runs: finished, stopped halfway, and of two seeds that were stopped."""
    base = tmp_path_factory.mktemp("made")
    file = in_process.params_file(base)
    with pytest.MonkeyPatch.context() as patch:
        in_process.patched(patch, base / "finished")
        assert cli.main(["run", str(file)]) == 0
        assert cli.main(["run", str(file), "-p", "seeds=0,1"]) == 0
        saves, real = [], training.Run.save

        def save(run):
            saves.append(run)
            real(run)
            if len(saves) == 2:
                (run.folder.path / "stop").touch()

        patch.setattr(training.Run, "save", save)
        in_process.patched(patch, base / "stopped")
        assert cli.main(["run", str(file)]) == 130
    return {"finished": base / "finished", "stopped": base / "stopped"}


def write(name: str, text: str | bytes) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(text.encode() if isinstance(text, str) else text)


def gone(*names: str) -> Callable[[Path], None]:
    def remove(run: Path) -> None:
        for name in names:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    return remove


def cut(*names: str) -> Callable[[Path], None]:
    def shorten(run: Path) -> None:
        for name in names:
            path = run / name
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return shorten


def flipped(name: str) -> Callable[[Path], None]:
    def flip(run: Path) -> None:
        data = bytearray((run / name).read_bytes())
        data[-5] ^= 0xFF
        (run / name).write_bytes(data)

    return flip


def line(number: int) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        lines = (run / "metrics.jsonl").read_bytes().split(b"\n")
        lines[number] = b"#" * len(lines[number])
        (run / "metrics.jsonl").write_bytes(b"\n".join(lines))

    return damage


def folder(name: str) -> Callable[[Path], None]:
    def replace(run: Path) -> None:
        gone(name)(run)
        (run / name).mkdir()

    return replace


LAST, BEST = "checkpoints/last.safetensors", "checkpoints/best.safetensors"
DAMAGES: dict[str, Callable[[Path], None]] = {
    "summary cut": write("summary.json", '{"status": "comp'),
    "summary empty": write("summary.json", ""),
    "summary a list": write("summary.json", "[]"),
    "summary without its contents": write("summary.json", '{"status": "complete"}'),
    "summary gone": gone("summary.json"),
    "summary a folder": folder("summary.json"),
    "summary and checkpoints": lambda run: (gone("checkpoints")(run), cut_summary(run)),
    "metrics line in the middle": line(1),
    "metrics line at the end": line(-2),
    "metrics cut": cut("metrics.jsonl"),
    "metrics gone": gone("metrics.jsonl"),
    "last checkpoint cut": cut(LAST),
    "last checkpoint flipped": flipped(LAST),
    "last checkpoint gone": gone(LAST),
    "last checkpoint a folder": folder(LAST),
    "last and best cut": lambda run: (unlinked(run), cut(LAST, BEST)(run)),
    "checkpoints gone": gone("checkpoints"),
    "checkpoints a file": lambda run: (gone("checkpoints")(run), write("checkpoints", "")(run)),
    "config damaged": write("config.yaml", "method_name: [drago"),
    "config foreign": write("config.yaml", "title: thesis\n"),
    "config gone": gone("config.yaml"),
    "config and checkpoints gone": gone("config.yaml", "checkpoints"),
    "config and checkpoints damaged": lambda run: (
        unlinked(run),
        write("config.yaml", "\0")(run),
        cut(LAST, BEST)(run),
        gone("checkpoints/task-1.safetensors")(run),
    ),
    "config, summary and metrics gone": gone("config.yaml", "summary.json", "metrics.jsonl"),
    "all but checkpoints gone": lambda run: gone(
        *(path.name for path in run.iterdir() if path.name != "checkpoints")
    )(run),
    "progress damaged": write("progress.json", '{"env_steps": "many"}'),
    "notebook cut": write("run.ipynb", '{"cells'),
}


def cut_summary(run: Path) -> None:
    write("summary.json", "{")(run)


def unlinked(run: Path) -> None:
    """Makes the best checkpoint a file of its own, which may be one with the last."""
    data = (run / BEST).read_bytes()
    (run / BEST).unlink()
    (run / BEST).write_bytes(data)


class Follower:
    """Does what messages say, and nothing else, until a run can be compared."""

    def __init__(self, begin: list[str], run: Path, capsys):
        self.begin, self.run, self.capsys = begin, run, capsys
        self.said: list[str] = []

    def go(self, *arguments: str) -> bool:
        """Runs a command; whether it was done."""
        code = cli.main(list(arguments))
        printed = self.capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        assert code in (0, 2), printed.err
        if code == 0:
            return True
        message = printed.err.splitlines()[-1]
        assert message not in self.said, f"it goes round in circles: {[*self.said, message]}"
        self.said.append(message)
        self.follow(message)
        return False

    def follow(self, message: str) -> None:
        """Takes the first advice that can be taken without a copy of what was lost."""
        if commands := re.findall(r"'python -m lib ((?:resume|clean|compare) [^']+)'", message):
            (command, *rest) = shlex.split(commands[0])
            if command == "clean":
                assert self.go("clean", *rest, "--yes")
                self.go(*self.begin)
            else:
                self.go(command, *rest)
        elif "start it again with the command that began it" in message:
            self.go(*self.begin)
        elif moved := re.match(
            r"'([^']+)' is (?:a folder|a file), where .+; move it else", message
        ):
            path = Path(moved[1])
            path.rename(self.run.parent.parent / path.name)
            self.go("resume", str(self.run))
        elif "holds other things than a run" in message and "'--out DIR'" in message:
            self.go(*self.begin, "--out", f"{self.run}-again")
            self.run = self.run.with_name(f"{self.run.name}-again")
        else:
            raise AssertionError(f"nothing to do is said by: {message}")


def cases() -> list:
    """Every damage with every state and first command; a few of them in every run of the tests."""
    found = []
    for number, damage in enumerate(DAMAGES):
        for state in ("finished", "stopped"):
            for order, first in enumerate(("compare", "resume", "run")):
                often = state == ("stopped", "finished")[number % 2] and order == number % 3
                marks = [] if often and number % 4 < 2 else [pytest.mark.slow]
                found.append(pytest.param(state, damage, first, marks=marks))
    return found


@pytest.mark.parametrize(("state", "damage", "first"), cases())
def test_following_what_is_said_ends_in_a_finished_run(
    made, tmp_path, monkeypatch, capsys, state, damage, first
):
    outputs = shutil.copytree(made[state], tmp_path / "outputs")
    in_process.patched(monkeypatch, outputs)
    begin, run = ["run", str(in_process.params_file(tmp_path))], outputs / "mine-s0"
    if state == "stopped" and not (run / "summary.json").exists():
        (run / "summary.json").write_text('{"status": "running"}')
    DAMAGES[damage](run)
    assert cli.main(["list"]) == 0
    (row,) = (row for row in capsys.readouterr().out.splitlines() if "  mine-s0 " in row)
    follower = Follower(begin, run, capsys)
    follower.go(*(begin if first == "run" else [first, str(run)]))
    if not follower.go("compare", str(follower.run), "--out", str(tmp_path / "compared")):
        assert follower.go("compare", str(follower.run), "--out", str(tmp_path / "compared"))
    cli.main(["list"])
    rows = capsys.readouterr().out.splitlines()
    assert any(f"  {follower.run.name} " in row and " finished" in row for row in rows), row


@pytest.mark.parametrize(
    "text", [None, "", "parameters: {}\nruns: []\n", "parameters: {seeds: [0, 1]}\nruns: [../x]\n"]
)
@pytest.mark.parametrize("first", ["resume", "run"])
def test_several_seeds_go_on_without_the_record_of_them(
    made, tmp_path, monkeypatch, capsys, text, first
):
    outputs = shutil.copytree(made["finished"], tmp_path / "outputs")
    in_process.patched(monkeypatch, outputs)
    home = outputs / "mine-seeds-0-1"
    gone("seeds.yaml")(home) if text is None else write("seeds.yaml", text)(home)
    assert cli.main(["list"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert any("  mine-s0 " in row and "finished" in row for row in rows)
    begin = ["run", str(in_process.params_file(tmp_path)), "-p", "seeds=0,1"]
    follower = Follower(begin, home, capsys)
    follower.go(*(begin if first == "run" else ["resume", str(home)]))
    assert follower.go("compare", str(home), "--out", str(tmp_path / "compared"))
    assert (outputs / "mine-s1" / "summary.json").is_file()


@pytest.mark.parametrize("name", ["last", "previous"])
def test_what_is_intact_is_gone_on_from_by_itself_and_said_to_be(
    made, tmp_path, monkeypatch, capsys, name
):
    outputs = shutil.copytree(made["stopped"], tmp_path / "outputs")
    in_process.patched(monkeypatch, outputs)
    run = outputs / "mine-s0"
    unlinked(run)
    other = "best.safetensors"
    if name == "previous":
        other = "previous.safetensors"
        shutil.copy(run / LAST, run / "checkpoints" / other)
        (run / BEST).unlink()
    cut(LAST)(run)
    assert cli.main(["resume", str(run)]) == 0
    said = capsys.readouterr().out.splitlines()
    (note,) = {line for line in said if "going on from" in line}
    assert "last.safetensors' is truncated" in note and note.endswith(f"; going on from {other}")
    whole = made["finished"] / "mine-s0"
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    task = "checkpoints/task-1.safetensors"
    assert (run / task).read_bytes() == (whole / task).read_bytes()


def test_a_checkpoint_of_another_version_is_not_taken_for_damage(made, tmp_path, monkeypatch):
    outputs = shutil.copytree(made["stopped"], tmp_path / "outputs")
    in_process.patched(monkeypatch, outputs)
    run = outputs / "mine-s0"
    unlinked(run)
    state, meta = checkpoint.load(run / LAST)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 2)
        checkpoint.save(run / LAST, state, meta)
    with pytest.raises(checkpoint.OtherFormat, match="use the version that wrote it"):
        saved.standing(RunFolder(run))


def test_runs_that_learn_from_files_are_told_by_their_updates(tmp_path):
    run = tmp_path / "mine-s0"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(in_process.record(name="mine")))
    (run / "progress.json").write_text(
        json.dumps({"env_steps": 0, "env_steps_total": 0, "updates": 30, "updates_total": 1200})
    )
    assert folders.status(run) == "stopped, at 30 of 1,200 updates; resume it"
