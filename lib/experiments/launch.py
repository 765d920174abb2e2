"""Executes a run's notebook while a person watches: progress, clean stops, short errors."""

import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from lib.core.errors import RunInterrupted, UserError
from lib.core.files import told_to_the_user
from lib.core.paths import shown
from lib.workbook import book

POLL_SECONDS = 0.5
LINE_SECONDS = 30.0  # between two lines where there is no terminal to redraw
LOCK_SECONDS = 5.0  # a killed run's kernel notices within a second or two
State = Mapping[str, Any]  # what progress.json holds
STOP_SIGNALS = [getattr(signal, s) for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)]


class NotebookFailed(Exception):
    """A cell raised something that is not the user's to mend. The message is for people."""


def execute(
    parameters: Mapping[str, Any],
    out: Path,
    notebook: Path,
    target: str = "run.ipynb",
    look: Callable[[float], State | None] | None = None,
) -> None:
    """Executes a notebook into `<out>/<target>`, showing progress until it ends.

    The first Ctrl-C (or SIGTERM) asks the training loop to save and stop, a second one aborts.

    Args:
        out: the run folder, existing.
        look: where the work stands, if it said so after a time [seconds since the epoch]; left
            out, as `<out>/progress.json` says.

    Raises:
        UserError: whatever the notebook raised as one; RunInterrupted after a clean stop.
        NotebookFailed: anything else.
        KeyboardInterrupt: aborted by a second Ctrl-C.
    """
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from lib.core.kernel import last_words

    out, name = out.absolute(), shown(out)  # papermill changes the working directory meanwhile
    stop = out / "stop"
    look = look or (lambda began: read_progress(out / "progress.json", newer_than=began))
    with alone_in(out), _stopping(stop), _Display(look), told_to_the_user(out / target):
        try:
            book.run(parameters, out / target, notebook)
        except PapermillExecutionError as error:
            raise as_it_was(error, name, target) from None
        except DeadKernelError:
            said = last_words(out / book.KERNEL_LOG)
            why = f"saying {said!r}" if said else "perhaps for lack of memory"
            raise NotebookFailed(
                f"the notebook's kernel died, {why}; continue with 'python -m lib resume {name}'"
            ) from None


def as_it_was(error: Any, out: Path, notebook: str) -> Exception:
    """The exception that a cell raised, or what to say about it.

    Args:
        error: papermill's PapermillExecutionError.
        out: the folder as the user would name it.
        notebook: name of the executed notebook in it.
    """
    text = " ".join(error.evalue.split())
    kinds = {kind.__name__: kind for kind in _family(UserError)}
    if error.ename in kinds:
        return kinds[error.ename](text)
    if error.ename == "KeyboardInterrupt":
        return RunInterrupted(f"interrupted; continue with 'python -m lib resume {out}'")
    return NotebookFailed(f"{error.ename}: {text}; the cell is marked in '{out / notebook}'")


def _family(kind: type) -> Iterator[type]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


# One at a time ------------------------------------------------------------------------------


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Holds a run folder against a second launch, and waits out a kernel that is just dying.

    Raises:
        UserError: another process runs there.
    """
    with _lock(out / ".launch-lock", 0.0, out):
        with _lock(out / ".lock", LOCK_SECONDS, out):  # the training loop's, given back at once
            pass
        yield


def is_busy(out: Path) -> bool:
    """Whether a process is running in this folder at the moment."""
    try:
        for name in (".launch-lock", ".lock"):
            if (out / name).exists():
                with _lock(out / name, 0.0, out):
                    pass
    except UserError:
        return True
    return False


@contextmanager
def _lock(path: Path, patience: float, out: Path) -> Iterator[None]:
    with told_to_the_user(path):
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise UserError(
                        f"'{shown(out)}' is in use by another process; wait for it, stop it there "
                        f"with Ctrl-C, or choose another folder with '--out'"
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)


# Stopping -----------------------------------------------------------------------------------


@contextmanager
def _stopping(stop: Path) -> Iterator[None]:
    """Turns the first signal into the stop file and a second one into KeyboardInterrupt.

    The kernel lives in a session of its own, so a Ctrl-C in the terminal does not reach it.
    """
    stop.unlink(missing_ok=True)  # left by a run that was killed

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.exists():
            raise KeyboardInterrupt
        stop.touch()
        with suppress(OSError):
            os.write(2, b"\nsaving, then stopping; Ctrl-C again aborts at once\n")

    heard = [n for n in STOP_SIGNALS if signal.getsignal(n) != signal.SIG_IGN]  # not under nohup
    before = {number: signal.signal(number, on_signal) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.unlink(missing_ok=True)


# Progress -----------------------------------------------------------------------------------


class _Display:
    """Shows where the work stands as it changes: a bar in a terminal, else a line at times."""

    def __init__(self, look: Callable[[float], State | None]):
        self.state = look
        self.began = time.time()
        self.finished = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.bar: tqdm | None = None
        self.next_line = 0.0

    def __enter__(self) -> "_Display":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finished.set()
        self.thread.join()

    def _watch(self) -> None:
        with suppress(OSError):  # the terminal is gone, the run goes on
            while not self.finished.wait(POLL_SECONDS):
                self._look()
            if self.bar:
                self._look()
                self.bar.close()

    def _look(self) -> None:
        state = self.state(self.began)
        if state is None:
            return
        if sys.stderr.isatty():
            self._draw(state)
        elif time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + LINE_SECONDS
            share = state["env_steps"] / max(1, state["env_steps_total"])
            print(f"{share:4.0%} {describe(state)}", file=sys.stderr, flush=True)

    def _draw(self, state: Mapping[str, Any]) -> None:
        if self.bar is None:
            self.bar = tqdm(
                total=state["env_steps_total"],
                bar_format="{percentage:3.0f}% |{bar:20}| {desc}",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=True,
            )
        self.bar.n = state["env_steps"]
        self.bar.set_description_str(describe(state))


def read_progress(path: Path, newer_than: float = 0.0) -> dict[str, Any] | None:
    """The contents of a progress.json, or None where there is none (yet)."""
    try:
        if path.stat().st_mtime < newer_than:
            return None
        state = json.loads(path.read_text())
        return state if {"env_steps", "env_steps_total"} <= state.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def describe(state: Mapping[str, Any]) -> str:
    """One line about where a run stands."""
    tasks = state.get("tasks", 1)
    number = min(state.get("task_index", 0) + 1, tasks)
    seeds = state.get("seeds") or ()
    parts = [
        f"{f'{len(seeds)} seeds, ' if seeds else ''}{state.get('task')} ({number}/{tasks}) "
        f"{state.get('phase')}",
        f"{state['env_steps']:,}/{state['env_steps_total']:,} env steps",
        f"{state.get('decisions') or 0:,} decisions",
    ]
    if state.get("updates_pending"):
        parts.append(f"{state['updates_pending']:,} updates due")
    if state.get("env_steps_per_s"):
        parts.append(f"{state['env_steps_per_s']:.0f} env steps/s")
    if state.get("eta_s") is not None:
        parts.append(f"ETA {tqdm.format_interval(state['eta_s'])}")
    if state.get("last_return") is not None:
        best = f" of {state['optimum']:.1f}" if state.get("optimum") else ""
        parts.append(f"return {state['last_return']:.1f}{best}")
    return ", ".join(parts)
