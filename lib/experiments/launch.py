"""Executes a run's notebook while a person watches: progress, clean stops, short errors."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from lib.core import storage
from lib.core.errors import NotebookFailed, RunInterrupted, UserError
from lib.core.paths import from_root, shown
from lib.experiments import notebooks
from lib.experiments.display import Display, State
from lib.experiments.locks import alone_in
from lib.experiments.summaries import read_progress

STOP_SIGNALS = [getattr(signal, s) for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)]


def execute(
    parameters: Mapping[str, Any],
    out: Path,
    notebook: Path,
    target: str = "run.ipynb",
    look: Callable[[float], State | None] | None = None,
    about: Iterable[Path] = (),
) -> None:
    """Executes a notebook into `<out>/<target>`, showing progress until it ends.

    The first Ctrl-C (or SIGTERM) asks the training loop to save and stop, a second one aborts.

    Args:
        out: the run folder, existing.
        look: where the work stands, if it said so after a time [seconds since the epoch]; left
            out, as `<out>/progress.json` says.
        about: files that the notebook tells of, for `drawing.is_complete`.

    Raises:
        UserError: whatever the notebook raised as one; RunInterrupted after a clean stop.
        NotebookFailed: anything else, such as a kernel that died.
        KeyboardInterrupt: aborted by a second Ctrl-C.
    """
    from papermill.exceptions import PapermillExecutionError

    about = [path.absolute() for path in about]
    out, name = out.absolute(), shown(out)  # papermill changes the working directory meanwhile
    stop = out / "stop"
    look = look or (lambda began: read_progress(out / "progress.json", newer_than=began))
    with storage.continued_in(name), alone_in(out), _stopping(stop), Display(look):
        try:
            notebooks.run(parameters, out / target, notebook, about=about)
        except PapermillExecutionError as error:
            raise as_it_was(error, name, target) from None


def as_it_was(error: Any, out: Path, notebook: str) -> Exception:
    """The exception that a cell raised, or what to say about it.

    Args:
        error: papermill's PapermillExecutionError.
        out: the folder as the user would name it.
        notebook: name of the executed notebook in it.
    """
    text = " ".join(error.evalue.split())
    if out != Path(there := from_root(out)):  # the kernel names it as seen from the root
        text = text.replace(f"lib resume {there}", f"lib resume {out}")
    kinds = {kind.__name__: kind for kind in _with_subclasses(UserError)}
    if error.ename in kinds:
        return kinds[error.ename](text)
    system = {kind.__name__ for kind in _with_subclasses(OSError)} - {"BrokenPipeError"}
    if error.ename in system and (refused := storage.from_words(text)):
        return refused
    if error.ename == "KeyboardInterrupt":
        return RunInterrupted(f"interrupted; continue with 'python -m lib resume {out}'")
    problem = f"{error.ename}: {text}"
    return NotebookFailed(f"{problem}; the cell is marked in '{out / notebook}'", problem)


def _with_subclasses(kind: type) -> Iterator[type]:
    yield kind
    for child in kind.__subclasses__():
        yield from _with_subclasses(child)


@contextmanager
def _stopping(stop: Path) -> Iterator[None]:
    """Turns the first signal into the stop file and a second one into KeyboardInterrupt.

    The kernel lives in a session of its own, so a Ctrl-C in the terminal does not reach it.
    """
    stop.unlink(missing_ok=True)  # left by a run that was killed

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.exists():
            raise KeyboardInterrupt
        try:
            stop.touch()
        except OSError:  # no room for it: there can be no save either
            raise KeyboardInterrupt from None
        with suppress(OSError):
            os.write(2, b"\nsaving, then stopping; Ctrl-C again aborts at once\n")

    heard = [n for n in STOP_SIGNALS if signal.getsignal(n) != signal.SIG_IGN]  # not under nohup
    before = {number: signal.signal(number, on_signal) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        with suppress(OSError):  # the next one removes it, and what went wrong is told
            stop.unlink(missing_ok=True)
