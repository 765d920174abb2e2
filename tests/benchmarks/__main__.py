"""`make bench`: the plain step-by-step path beside the fast one, on whatever hardware is here.

Prints a table while it measures and writes a file that notebook 22 draws. Reference and fast
form take turns; ratios above 1 are in favour of the fast form. The parts are

    plans         plans per second: one state, many, and the reviewer's
    updates       updates per second in the first task and in a reviewed one
    seeds         five seeds as one batch against five batches of one
    environments  the grid's table against Minigrid, bodies and pictures against dm_control
    whole         env steps per second of the quick grid run, end to end
    ready         seconds until a process is at full speed, and its memory
    growth        milliseconds of one plan and one update as E, S, horizon and width grow
    hours         projected hours of whole sequences, from the rates above
    dreamer       milliseconds of a Dreamer's update and decision, and of five seeds at once
    viewer        milliseconds until a scrubbed rollout shows its next picture

On two CPU cores all of it takes about seven minutes and --quick two; several more where nothing was
compiled before.
"""

import lib  # noqa: F401, I001 (before PyTorch: it says how waiting threads behave)

import argparse
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from lib.analysis import bench
from lib.core.errors import UserError, unknown
from lib.engine.machine import choose_device
from lib.core.paths import shown
from tests.benchmarks import dreamer, engine, environments, starts, viewing, whole
from tests.benchmarks.engine import Engine, Scale
from tests.benchmarks.learners import Size
from tests.benchmarks.measure import QUICK, THOROUGH, Line, heading, peaks, text, write

PARTS: dict[str, Callable[[Engine, float], Iterator[Line]]] = {
    "plans": engine.planning,
    "updates": engine.updating,
    "seeds": engine.stacking,
    "environments": environments.stepping,
    "whole": whole.ending,
    "ready": starts.starting,
    "growth": engine.growing,
    "hours": whole.projecting,
    "dreamer": dreamer.dreaming,
    "seeing": dreamer.seeing,
    "viewer": viewing.viewing,
}
PART = bench.LATEST.with_name("part.json")  # some parts only: the file of all parts stays


def sizes(device: torch.device) -> dict[str, Size]:
    """Every preset that can be measured; the cheetah plans 25 steps ahead in all tasks."""
    many = 64 if device.type == "cuda" else 8
    cheetah = (("planner.horizon", (25,)),)
    return {
        "cheetah-full": Size("cheetah-full", many, cheetah, full=True),
        "cheetah-full-lower": Size("cheetah-full", many, cheetah, full=True, lower=True),
        "grid-full": Size("grid-full", many, full=True),
        "grid-full-lower": Size("grid-full", many, full=True, lower=True),
        "grid-quick": Size("grid-quick", 8),
        "cheetah-quick": Size("cheetah-quick", 8),
    }


def scale(device: torch.device, quick: bool, full: bool) -> Scale:
    """What is measured here: the published sizes on a CUDA device, the quick ones on a CPU.

    Args:
        quick: short turns, fewer presets and points.
        full: the published sizes on a CPU as well.
    """
    known = sizes(device)
    cuda = device.type == "cuda"
    names = ["grid-quick"] if quick else ["grid-quick", "cheetah-quick"]
    if cuda or full:
        names = ["cheetah-full", "grid-full", *([] if quick else names)]
    if cuda and not quick:  # lower precision is the hardware's own there
        names[:2] = [name + lower for name in names[:2] for lower in ("", bench.LOWER)]
    base = known["cheetah-full" if cuda else "grid-quick"]
    # Every new size has to be compiled on a CPU, so there are few of them.
    growth = {
        "E": (1, 4, 16, 64) if cuda else (1, 4, 16),
        "S": (1, 2, 5) if cuda else (1, 5),
        "horizon": (5, 15, 25) if cuda else (6, 12),
        "width": (128, 256, 512) if cuda else (96, 192),
    }
    if quick:
        growth = {letter: (growth[letter][0], growth[letter][-1]) for letter in "ES"}
    bodies = ("cheetah-run",) if quick else ("cheetah-run", "cheetah-jump", "walker-run")
    return Scale(
        sizes=tuple(known[name] for name in names),
        base=base,
        whole=known["grid-quick"],
        growth=tuple(growth.items()),
        bodies=bodies,
        effort=QUICK if quick else THOROUGH,
        thorough=not quick,
        dreams=dreamer.dreams(device, quick),
        pictures=dreamer.pictures(device, quick, full),
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--device", default="auto", help="auto, cpu or cuda; auto takes a GPU where there is one")
    add("--only", nargs="+", metavar="PART", default=[], help="measure these parts alone")
    add("--quick", action="store_true", help="short turns, fewer presets and points")
    add(
        "--full",
        action="store_true",
        help="published sizes on a CPU too; an hour",
    )
    add("--threads", type=int, default=0, help="most CPU threads; each form takes what its runs do")
    add("--out", type=Path, help=f"file to write (default {shown(bench.LATEST)})")
    add("--publish", action="store_true", help="also write outputs/published/bench-DEVICE.json")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; returns the exit code."""
    given = parser().parse_args(arguments)
    try:
        path = run(given)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\nwritten to {shown(path)}; notebooks/22_speed.ipynb draws it")
    return 0


def run(given: argparse.Namespace) -> Path:
    """Measures the parts asked for and writes their rows."""
    for name in given.only:
        if name not in PARTS:
            raise unknown("part", name, PARTS, "--only takes one or more of them")
    if given.threads < 0:
        raise UserError(f"--threads {given.threads}: wanted at least 1, or 0 for all there are")
    if given.publish and given.only:
        raise UserError("--publish goes with all parts: leave out --only")
    device = choose_device(given.device)
    if given.threads:
        torch.set_num_threads(given.threads)
    found = peaks(device)
    print("matrix products:", ", ".join(f"{v:,.0f} GFLOP/s {kind}" for kind, v in found.items()))
    what = scale(device, given.quick, given.full)
    lines = measure(given.only or list(PARTS), device, what, found)
    words = ["python", "-m", "tests.benchmarks", *_arguments(given)]
    about = {"device": device.type, "command": shlex.join(words), "peak": found}
    path = given.out or (PART if given.only else bench.LATEST)
    write(path, lines, about)
    if given.publish:
        one = bench.read(path)
        target = bench.PUBLISHED / f"bench-{bench.slug(one.device, one.machine)}.json"
        shutil.copyfile(path, target)
        print(f"published as {shown(target)}")
    return path


def measure(
    parts: Sequence[str], device: torch.device, what: Scale, peak: dict[str, float]
) -> list[Line]:
    """Rows of the parts in their order, each printed as soon as it is measured."""
    machine, lines = Engine(device, what), []
    print(heading())
    for name in PARTS:
        if name not in parts:
            continue
        for line in PARTS[name](machine, peak["float32"]):
            print(text(line), flush=True)
            lines.append(line)
    return lines


def _arguments(given: argparse.Namespace) -> list[str]:
    """The options as they were given, paths left out."""
    flags = [f"--{name}" for name in ("quick", "full") if getattr(given, name)]
    only = ["--only", *given.only] if given.only else []
    threads = ["--threads", str(given.threads)] if given.threads else []
    return ["--device", given.device, *threads, *flags, *only]


if __name__ == "__main__":
    sys.exit(main())
