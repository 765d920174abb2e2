"""Commands that are killed while they draw, and comparing what two of them left behind."""

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tests.killing
from tests.tiny import flat

# What tells of the moment, or of one process: no two runs have the same.
OF_THE_MOMENT = ("timing.jsonl", "progress.json", "kernel.log", "tensorboard")


def processes() -> Any:
    """A context whose children start from one process that has everything imported."""
    context = tests.killing.processes()
    modules = ["lib.cli", "lib.experiments.launch", "lib.experiments.runs", "papermill"]
    context.set_forkserver_preload(["tests.drawn", *modules])
    return context


def command(arguments: Sequence[str], kill_at: int = 0, victim: str = "command") -> None:
    """Runs a command line; at one of its events somebody dies.

    Args:
        kill_at: number of the event: before and after a file takes its name, which happens
            whenever the notebook is saved, twice a cell. 0: everybody lives on.
        victim: "command", or "kernel" for the process that the notebook is executed in.
    """
    from lib import cli

    seen, replace = 0, os.replace

    def counted(*args: Any) -> None:
        for call in (lambda: replace(*args), None):
            nonlocal seen
            seen += 1
            if seen == kill_at:
                _kill(victim)
            if call:
                call()

    os.replace = counted
    raise SystemExit(cli.main(arguments))


def events(run: Callable[[], Any]) -> int:
    """How many events a piece of work in this process has."""
    seen, replace = 0, os.replace

    def counted(*args: Any) -> None:
        nonlocal seen
        seen += 2
        replace(*args)

    os.replace = counted
    try:
        run()
    finally:
        os.replace = replace
    return seen


def _kill(victim: str) -> None:
    if victim == "command":
        os.kill(os.getpid(), signal.SIGKILL)
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            os.kill(int(child), signal.SIGKILL)


def differences(one: Path, other: Path) -> list[str]:
    """Where two folders differ in what they could have the same of."""
    left, right = flat(_contents(one)), flat(_contents(other))
    return [
        f"{name}: {left.get(name)!r:.90} / {right.get(name)!r:.90}"
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    ]


def _contents(out: Path) -> dict[str, Any]:
    """All that a folder holds but what no two have the same of, by name."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or name.split("/")[0] in OF_THE_MOMENT:
            continue
        found[name] = _timeless(path) if path.suffix == ".ipynb" else path.read_bytes()
    return found


def _timeless(path: Path) -> dict[str, Any]:
    """A notebook without when each of its cells began and how long it took."""
    notebook = json.loads(path.read_text())
    for part in (notebook, *notebook["cells"]):
        for name in ("start_time", "end_time", "duration"):
            part["metadata"]["papermill"].pop(name)
        part["metadata"].pop("execution", None)
    return notebook
