"""`--fresh` throws an old run away when the new one has begun, and not before."""

import json
from pathlib import Path

import pytest
import yaml

from lib import cli
from lib.core.paths import ROOT
from lib.experiments import afresh, params, run_config

STUB = ROOT / "tests" / "stub_run.py"


pytestmark = pytest.mark.usefixtures("outputs")


def asked(tmp_path: Path, **parameters) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "preset": "grid-quick"} | parameters))
    return str(path)


def old_run(outputs: Path, seed: int = 0) -> tuple[Path, dict[str, bytes]]:
    """A run as it was left, and all that is in it."""
    given = run_config.PARAMETERS | {"name": "mine", "seed": seed}
    config, out = run_config.resolve(given), outputs / f"mine-s{seed}"
    out.mkdir()
    record = json.loads(json.dumps(params.record(config, given)))
    (out / "config.yaml").write_text(yaml.safe_dump(record))
    (out / "metrics.jsonl").write_text("old\n")
    return out, files(out)


def files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def saved(out: Path) -> None:
    """Makes a run one that has begun: its first checkpoint is there."""
    (out / "checkpoints").mkdir(exist_ok=True)
    (out / "checkpoints" / "last.safetensors").touch()


def fresh(given: str, *more: str) -> list[str]:
    return ["run", given, "--fresh", f"--notebook={STUB}", *more]


def test_what_is_refused_costs_nothing(tmp_path, outputs, capsys):
    out, before = old_run(outputs)
    given = asked(tmp_path)
    refused = [
        (["-p", "load_mode=worldmodel", "-p", f"load_from={out}"], "unknown load_mode"),
        (["-p", "load_mode=agent", "-p", "load_from=nowhere"], "nowhere"),
        (["-p", "load_mode=agent", "-p", f"load_from={out}"], "no checkpoint in"),
        (["-p", "planner.samples=0"], "planner.samples"),
        (["--notebook", str(tmp_path / "none.py")], "unknown notebook"),
    ]
    for more, said in refused:
        assert cli.main(fresh(given, *more)) == 2
        assert said in capsys.readouterr().err
        assert files(out) == before and not afresh.aside_of(out).exists()


def test_a_run_that_the_new_one_builds_on_stays(tmp_path, outputs, capsys, monkeypatch):
    out, _ = old_run(outputs)
    (out / "checkpoints").mkdir()
    source = out / "checkpoints" / "task-1.safetensors"
    source.write_bytes(b"weights")
    monkeypatch.setattr("lib.runner.checkpoint.load_meta", lambda path: {})
    before = files(out)
    more = ["-p", "load_mode=agent", "-p", f"load_from={out}"]
    assert cli.main(fresh(asked(tmp_path), *more)) == 2
    assert "would throw away" in (said := capsys.readouterr().err) and "--out DIR" in said
    assert files(out) == before


def test_the_old_run_is_back_where_the_new_one_did_not_begin(tmp_path, outputs, capsys):
    given = asked(tmp_path, name="user-error")  # the stub stops before it writes anything
    out, before = old_run(outputs)
    out = out.rename(outputs / "user-error-s0")
    assert cli.main(fresh(given)) == 2
    assert "so the old run is back" in capsys.readouterr().err
    assert files(out) == before and not afresh.aside_of(out).exists()


def test_the_old_run_is_gone_once_the_new_one_has_begun(tmp_path, outputs):
    out, _ = old_run(outputs)
    assert cli.main(fresh(asked(tmp_path))) == 0
    assert (out / "metrics.jsonl").read_text() == "x" * 40
    assert not afresh.aside_of(out).exists()


@pytest.mark.parametrize("command", ["run", "resume"])
def test_after_a_crash_the_next_command_puts_the_old_run_back(
    command, tmp_path, outputs, monkeypatch
):
    out, before = old_run(outputs)
    out.rename(afresh.aside_of(out))
    out.mkdir()
    (out / "kernel.log").touch()  # of the command that was killed before anything began
    seen: list[dict[str, bytes]] = []
    monkeypatch.setattr(cli, "_go_on", lambda *_: seen.append(files(out)))
    words = ["run", asked(tmp_path)] if command == "run" else ["resume", "mine-s0"]
    assert cli.main(words) == 0
    assert seen == [before] and not afresh.aside_of(out).exists()


def test_after_a_crash_the_next_command_removes_what_was_replaced(tmp_path, outputs, monkeypatch):
    out, _ = old_run(outputs)
    out.rename(afresh.aside_of(out))
    old_run(outputs)
    (out / "metrics.jsonl").write_text("new\n")
    saved(out)
    monkeypatch.setattr(cli, "_go_on", lambda *_: None)
    assert cli.main(["run", asked(tmp_path)]) == 0
    assert (out / "metrics.jsonl").read_text() == "new\n"
    assert not afresh.aside_of(out).exists()


def test_of_several_seeds_all_are_set_aside_and_put_back(outputs):
    outs = [old_run(outputs, seed) for seed in (0, 1)]
    for out, _ in outs:
        out.rename(afresh.aside_of(out))
    folders = [out for out, _ in outs]
    back = afresh.settle(folders, folders)
    assert back == [out for out, _ in outs]
    assert all(files(out) == before for out, before in outs)


def test_a_start_that_fails_after_the_configuration_was_written_costs_nothing(tmp_path, outputs):
    out, before = old_run(outputs)
    out.rename(afresh.aside_of(out))
    old_run(outputs)  # of the new one: what does not fit is found out when it is loaded
    assert afresh.settle([out], [out]) == [out]
    assert files(out) == before


def test_what_is_said_of_a_failed_start_leads_nowhere_else(tmp_path, outputs, capsys):
    out, before = old_run(outputs)
    out = out.rename(outputs / "bug-s0")
    assert cli.main(fresh(asked(tmp_path, name="bug"))) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero\n" in said and "is marked in" not in said
    assert files(out) == before


def test_other_things_in_the_place_of_an_old_run_are_left_alone(tmp_path, outputs, capsys):
    out, before = old_run(outputs)
    aside = out.rename(afresh.aside_of(out))
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    assert cli.main(["run", asked(tmp_path)]) == 2
    assert "holds other things" in capsys.readouterr().err
    assert (out / "thesis.txt").exists() and files(aside) == before


@pytest.mark.parametrize("begun", [(), (0,), (0, 1)])
def test_seeds_are_settled_by_the_name_that_stands_for_them(outputs, monkeypatch, begun):
    home = outputs / "mine-seeds-0-1"
    asked_for = {"parameters": {"seeds": [0, 1]}, "runs": ["../mine-s0", "../mine-s1"]}
    home.mkdir()
    (home / "seeds.yaml").write_text(yaml.safe_dump(asked_for))
    olds = [old_run(outputs, seed) for seed in (0, 1)]
    for out in (home, *(out for out, _ in olds)):
        out.rename(afresh.aside_of(out))
    home.mkdir()
    (home / "seeds.yaml").write_text(yaml.safe_dump(asked_for | {"new": 1}))
    for seed in (0, 1):
        out, _ = old_run(outputs, seed)
        (out / "metrics.jsonl").write_text("new\n")
        if seed in begun:
            saved(out)
    outs, runs = afresh.group_of(home)
    back = afresh.settle(outs, runs)
    new = len(begun) == 2
    assert back == ([] if new else outs)
    assert ("new" in (home / "seeds.yaml").read_text()) == new
    lines = [(out / "metrics.jsonl").read_text() for out, _ in olds]
    assert lines == (["new\n"] * 2 if new else ["old\n"] * 2)
    assert not list(outputs.glob("*.old"))
