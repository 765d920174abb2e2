"""Shows a person where a run stands: a bar in a terminal, or else a line now and then."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from lib.core.plain import printable
from lib.experiments.summaries import counted

POLL_SECONDS = 0.5
LINE_SECONDS = 30.0  # between two lines where there is no terminal to redraw
State = Mapping[str, Any]  # what progress.json holds


class Display:
    """Shows where the work stands as it changes: a bar in a terminal, else a line at times.

    Where it stood at the end is always shown, also of work that was over before the first look.
    """

    def __init__(self, look: Callable[[float], State | None]):
        self.state = look
        self.began = time.time()
        self.finished = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.bar: tqdm | None = None
        self.line, self.next_line = "", 0.0

    def __enter__(self) -> "Display":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finished.set()
        self.thread.join()

    def _watch(self) -> None:
        with suppress(OSError):  # the terminal is gone, the run goes on
            while not self.finished.wait(POLL_SECONDS):
                self._look()
            self._look(last=True)
            if self.bar:
                self.bar.close()

    def _look(self, last: bool = False) -> None:
        state = self.state(self.began)
        if state is None:
            return
        if sys.stderr.isatty():
            self._draw(state)
        elif last or time.monotonic() >= self.next_line:
            done, total, _ = counted(state)
            share = done / max(1, total)
            before, self.line = self.line, f"{share:4.0%} {describe(state)}"
            self.next_line = time.monotonic() + LINE_SECONDS
            if self.line != before:
                print(self.line, file=sys.stderr, flush=True)

    def _draw(self, state: Mapping[str, Any]) -> None:
        done, total, _ = counted(state)
        if self.bar is None:
            self.bar = tqdm(
                total=total,
                bar_format="{percentage:3.0f}% |{bar:20}| {desc}",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=True,
            )
        self.bar.n = done
        self.bar.set_description_str(describe(state))


def describe(state: Mapping[str, Any]) -> str:
    """One line about where a run stands."""
    done, total, unit = counted(state)
    tasks = state.get("tasks", 1)
    number = min(state.get("task_index", 0) + 1, tasks)
    seeds = state.get("seeds") or ()
    parts = [
        f"{f'{len(seeds)} seeds, ' if seeds else ''}{state.get('task')} ({number}/{tasks}) "
        f"{state.get('phase')}",
        f"{done:,}/{total:,} {unit}",
    ]
    if unit == "env steps":
        parts.append(f"{state.get('decisions') or 0:,} decisions")
    if state.get("updates_pending"):
        parts.append(f"{state['updates_pending']:,} updates due")
    if rate := state.get(f"{unit.replace(' ', '_')}_per_s"):
        parts.append(f"{rate:.0f} {unit}/s")
    if state.get("eta_s") is not None:
        parts.append(f"ETA {tqdm.format_interval(state['eta_s'])}")
    if state.get("last_return") is not None:
        best = f" of {state['optimum']:.1f}" if state.get("optimum") else ""
        parts.append(f"return {state['last_return']:.1f}{best}")
    return printable(", ".join(parts))
