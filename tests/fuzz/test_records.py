"""Files of run folders, damaged in every way: what the command line makes of them.

`WORKBOOK_FUZZ_RECORDS=5000 pytest tests/fuzz/test_records.py` damages as many instead of a few.
"""

import os
import random
import signal
import traceback
from collections import Counter
from pathlib import Path

import pytest

from lib import cli
from lib.analysis import results
from lib.experiments import catalogue, launch, notebooks, runs
from lib.runner import checkpoint, contents, saved, training
from lib.runner.record import read_metrics
from lib.runner.run_folder import RunFolder
from tests import in_process
from tests.fuzz import records

COUNT = int(os.environ.get("WORKBOOK_FUZZ_RECORDS", 150))
LONGEST = 20  # [s] that three commands may take on a busy machine
WRITTEN = (contents.LOCK, contents.LAUNCH_LOCK, contents.CONFIG, contents.SEEDS)  # or mended


class TooLong(BaseException):
    """A command that did not end, which no handler catches."""


def looked_at(parameters, out, notebook, *_, **__) -> None:
    """Stands in for training: everything that it reads before it begins, and what is drawn."""
    spec = runs.prepare(parameters, cli.OUTPUTS)
    for config, path in spec.each():
        folder = RunFolder(path)
        if folder.is_complete():
            in_process.read([results.load_run(path)])
            continue
        path.mkdir(exist_ok=True)
        start = training.Start(*(parameters[key] for key in runs.params.KEPT))
        saved.take(folder, start.of_seed(config.seed).record(config))
        for place in saved.standing(folder).positions.values():
            if place:
                checkpoint.load(place)
                read_metrics(folder.metrics)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> Path:
    """Runs that are finished, stopped, and several seeds of one."""
    folder = tmp_path_factory.mktemp("fuzz") / "outputs"
    file = in_process.params_file(folder.parent)
    with pytest.MonkeyPatch.context() as patch:
        in_process.patched(patch, folder)
        assert cli.main(["run", str(file)]) == 0
        assert cli.main(["run", str(file), "-p", "seeds=0,1", "-p", "name=both"]) == 0
        saves, real = [], training.Run.save

        def save(run):
            saves.append(run)
            real(run)
            if len(saves) == 2:
                run.folder.stop.touch()

        patch.setattr(training.Run, "save", save)
        assert cli.main(["run", str(file), "-p", "name=half"]) == 130
    return folder


def complaint(given: list[str], capsys) -> str:
    """What is wrong with how a command ended; nothing where it ended well."""

    def late(*_):
        raise TooLong

    signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST)
    try:
        code = cli.main(given)
    except BaseException:
        return traceback.format_exc(limit=-4)
    finally:
        signal.alarm(0)
    out, err = capsys.readouterr()
    if code not in (0, 2) or "Traceback" in out + err:
        return f"exit status {code}: {err[-500:]}"
    if code == 2 and (len(err.splitlines()) != 1 or len(err) > 2000):
        return f"{len(err.splitlines())} lines: {err[:500]}"
    return ""


def test_no_damaged_record_ends_in_a_traceback_or_costs_another_file(
    outputs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cli, "OUTPUTS", outputs)
    monkeypatch.setattr(launch, "execute", looked_at)
    monkeypatch.setattr(
        notebooks,
        "run",
        lambda given, *_: in_process.read(list(map(results.load_run, given["runs"]))),
    )
    monkeypatch.setattr(catalogue, "overview", lambda _: "")
    before, wrong, ended = records.contents(outputs), [], Counter()
    files = sorted(path for path, was in before.items() if was is not None)
    for seed in range(COUNT):
        draw = random.Random(seed)
        place = draw.choice(files)
        home = outputs / place.relative_to(outputs).parts[0]
        how = records.damage(place, draw)
        there = records.contents(outputs)
        named = draw.choice((home, outputs / "both-seeds-0-1") if "both" in home.name else (home,))
        compared = tmp_path / "compared"
        for given in (
            ["list"],
            ["compare", str(named), "--out", str(compared)],
            ["resume", str(named)],
        ):
            if said := complaint(given, capsys):
                wrong.append(f"{seed}, {given[0]} {named.name}, {home.name}/{how}: {said}")
            ended[given[0]] += 1
        after = records.contents(outputs)
        lost = [path for path in there if path != place and after.get(path) != there[path]]
        lost += [place] if place not in after and place in there else []
        if lost := [path for path in lost if path.name not in WRITTEN]:
            wrong.append(f"{seed}, {home.name}/{how}: lost or changed {lost}")
        records.restore(outputs, before)
    kinds = [line.rsplit("\n", 2)[-2] if "\n" in line else line[:80] for line in wrong]
    first = dict(zip(reversed(kinds), reversed(wrong), strict=True))  # of every kind
    told = "\n".join(list(first.values())[:6]) + f"\n{Counter(kinds).most_common(20)}"
    assert not wrong, f"{len(wrong)} of {COUNT}: {told}"
    assert not records.contents(outputs).keys() ^ before.keys()
