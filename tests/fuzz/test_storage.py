"""Whatever a disk refuses, at whatever file: one line, nothing lost, and its advice works.

`WORKBOOK_FAULTS=200 pytest tests/fuzz/test_storage.py` tries as many faults instead of a few.
"""

import errno
import os
import random
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from lib.runner import saved
from tests.fuzz.disk import STOPS, Disk, Fault, Moment
from tests.fuzz.stored import advised, command, differing, furnish, told

FEW = 40
COUNT = int(os.environ.get("WORKBOOK_FAULTS", FEW))
PROGRESS = re.compile(r"\s*\d+% ")
ENDED = "previous.safetensors"  # goes once the next checkpoint is there
WORK = ("run", "resume", "seeds", "compare")


class Place:
    """Folders in which each kind of work can begin, and what comes of it undisturbed."""

    def __init__(self, folder: Path):
        self.folder, self.outputs = folder, folder / "outputs"
        self.file = folder / "mine.yaml"
        self.ready: dict[str, Path] = {}
        self.whole: dict[str, dict] = {}
        self.moments: dict[str, list[Moment]] = {}

    def started(self, work: str) -> tuple[object, ...]:
        """The command that starts some work."""
        if work == "compare":
            runs = [self.outputs / f"done-s{seed}" for seed in (0, 1)]
            return ("compare", *runs, "--out", self.outputs / "compared")
        seeds = ("-p", "seeds=0,1") if work == "seeds" else ()
        return ("run", self.file, *seeds, "--out", self.outputs / "a b")

    def begin(self, work: str) -> None:
        """Puts outputs/ back to where some work begins."""
        shutil.rmtree(self.outputs)
        shutil.copytree(self.ready[work], self.outputs)
        saved._verified_meta.cache_clear()  # a new process has read no checkpoint yet

    def first(self, work: str) -> tuple[object, ...]:
        """The command that is disturbed."""
        return ("resume", self.outputs / "a b") if work == "resume" else self.started(work)


def _place(folder: Path) -> Place:
    place = Place(folder)
    empty = folder / "empty"
    shutil.copytree(place.outputs, empty)
    place.ready = {"run": empty, "seeds": empty}
    half = Fault(Moment("replace", "a b/videos/2-reach-0000020.mp4", 0), errno.EIO, False)
    with Disk(place.outputs, half) as disk:
        assert command(*place.started("run")) == 2 and disk.happened
    place.ready["resume"] = folder / "half"
    shutil.copytree(place.outputs, place.ready["resume"])
    shutil.rmtree(place.outputs)
    for seed in (0, 1):
        out = place.outputs / f"done-s{seed}"
        assert command("run", place.file, "-p", f"seed={seed}", "--out", out) == 0
    place.ready["compare"] = folder / "done"
    shutil.copytree(place.outputs, place.ready["compare"])
    for work in WORK:
        place.begin(work)
        with Disk(place.outputs) as disk:
            assert command(*place.first(work)) == 0
        place.whole[work], place.moments[work] = told(place.outputs), disk.moments
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("storage")
    with pytest.MonkeyPatch.context() as patch:
        furnish(patch, folder)
        yield _place(folder)


def draw_fault(place: Place, seed: int) -> tuple[str, Fault]:
    """A piece of work and what disturbs it; every kind of file is as likely as another."""
    draws = random.Random(seed)
    work = draws.choice(WORK)
    kinds = defaultdict(list)
    for moment in place.moments[work]:
        kinds[Path(moment.path).name, moment.call].append(moment)
    file = draws.choice(sorted({name for name, _ in kinds}))
    call = draws.choice(sorted(call for name, call in kinds if name == file))
    errors = [number for number, calls in STOPS.items() if call in calls]
    error = draws.choice(errors)
    return work, Fault(draws.choice(sorted(kinds[file, call])), error, draws.random() < 0.5)


def disturb(place: Place, work: str, fault: Fault, capsys) -> str:
    """Lets a fault happen and follows the advice; returns what was said."""
    place.begin(work)
    before, first = told(place.outputs), place.first(work)
    lost = place.outputs / Path(fault.at.path).parts[0]
    with Disk(place.outputs, fault, lost) as disk:
        code = command(*first)
    assert disk.happened, "it never came to this"
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if not PROGRESS.match(line)]
    assert "Traceback" not in said
    assert (code, len(lines)) in ((0, 0), (2, 1)), f"{code}: {said}"
    plt.close("all")
    after = told(place.outputs)
    if fault.error != errno.ENOENT:
        gone = {name for name in before.keys() - after.keys() if not name.endswith(ENDED)}
        assert not gone, f"lost: {gone}"
    if code:
        again = advised(lines[0], first, place.started(work))
        code = command(*again)
        assert code == 0, f"{lines[0]}\n  then {again}: {capsys.readouterr().err}"
    differ = differing(told(place.outputs), place.whole[work])
    assert not differ, f"{lines}: {differ} differ"
    left = [path.name for path in place.outputs.rglob("*.partial")]
    assert not left, f"{lines}: {left} left over"
    return lines[0] if lines else ""


@pytest.mark.parametrize("seed", range(COUNT))
def test_what_a_disk_refuses_is_one_line_whose_advice_works(place, capsys, seed):
    work, fault = draw_fault(place, seed)
    try:
        said = disturb(place, work, fault, capsys)
    except Exception as error:
        pytest.fail(f"{work}, {fault}: {type(error).__name__}: {error}", pytrace=False)
    print(f"{work}, {fault}: {said}")


SMALL = [f"size={size}k" for size in (4, 12, 24, 40, 56, 72)]
FEW_FILES = [f"nr_inodes={count}" for count in (2, 3, 5, 8, 11, 14, 17)]
LIMITS = [*SMALL, *FEW_FILES, "ro"]


@pytest.mark.parametrize("limit", LIMITS if COUNT > FEW else LIMITS[1::6])
@pytest.mark.parametrize("work", ["run", "seeds"])
def test_a_real_disk_that_is_too_small_or_read_only(place, capsys, work, limit):
    shutil.rmtree(place.outputs)
    place.outputs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", limit, "none", str(place.outputs)]
    try:
        made = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("only the superuser of a machine may mount a disk")
    try:
        given = place.started(work)
        assert command(*given) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if not PROGRESS.match(line)]
        assert len(said) == 1, said
        told(place.outputs)
        more = "remount,rw,size=64m,nr_inodes=1000"
        subprocess.run(["mount", "-o", more, str(place.outputs)], check=True)
        assert command(*advised(said[0], given, given)) == 0, capsys.readouterr().err
        assert not differing(told(place.outputs), place.whole[work]), said
    finally:
        plt.close("all")
        subprocess.run(["umount", str(place.outputs)], check=True)
