"""Who simulates and draws: this process alone, or several others at once.

Other processes are started anew, never forked, as a forked process inherits an OpenGL that it
cannot use; each has one OpenGL context. Several contexts at once are known to hang with some
drivers (mujoco issue 3444), so a process that gives no picture in time is ended, and this process
draws alone.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, Protocol

from lib.core.errors import UserError
from lib.envs import gl
from lib.envs.pixels.copies import Copies, Plan
from lib.envs.pixels.worker import Failed

PATIENCE = gl.PATIENCE  # [s] for a first picture, and for any answer after it
END = 5  # [s] for a process to be gone once it was ended
IDLE = 2  # backends that are kept for the next who asks
# Ctrl-C reaches every process of a terminal; this one saves itself first, and needs the others.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from lib.envs.pixels.worker import serve; serve(int(sys.argv[1]))"
)
Call = tuple  # name of a method of `Copies`, number of a copy, arguments


class Backend(Protocol):
    """What simulates and draws: copies by number, wherever they are."""

    plan: Plan
    count: int  # processes

    @property
    def usable(self) -> bool:
        """Whether it still answers."""
        ...

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Returns the results of calls to `Copies.call`, in order; copies work at once.

        Raises:
            ProcessesEnded: some of it hangs or is gone, and with it the copies.
        """
        ...

    def close(self) -> None:
        """Ends it; may be repeated."""
        ...


class InProcess:
    """This process does everything. Raises UserError as `Copies` does."""

    count, usable = 1, True

    def __init__(self, plan: Plan):
        name = gl.choose_gl()  # before the simulator is imported, which looks at the choice
        self.plan, self._copies = plan, Copies(plan, name)

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Returns the results of calls, one after another."""
        return [self._copies.call(*call) for call in calls]

    def close(self) -> None:
        """Gives the renderer back."""
        self._copies.close()


class ProcessesEnded(Exception):
    """Why processes cannot be used here any more, although this one may draw alone."""


class Processes:
    """Several processes, among which copies are dealt out by number.

    Args:
        plan: what they simulate and draw.
        count: processes.
        patience: [s] for a first picture, and for any answer after it.

    Raises:
        UserError: nothing can draw here, or what `Copies` says.
        ProcessesEnded: one of them ended or hung before it had drawn anything.
    """

    def __init__(self, plan: Plan, count: int, patience: float = PATIENCE):
        self.plan, self.count, self._patience = plan, count, patience
        name = gl.choose_gl()
        self._processes: list[subprocess.Popen] = []
        self._lines: list[Connection] = []
        gl.close_at_exit(self)
        try:
            for _ in range(count):
                self._start()
            for number, line in enumerate(self._lines):
                line.send((plan, name, number))
            for number in range(count):
                self._receive(number)
        except OSError as error:
            self.close()
            raise ProcessesEnded(f"could not be reached: {error}") from error
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        """Starts one that imports what this process would, whatever its main program is."""
        mine, its = Pipe()
        with its:
            command = [sys.executable, "-c", PROGRAM, str(its.fileno()), json.dumps(sys.path)]
            settings = {**os.environ, "OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()], env=settings
            )
        self._processes.append(started)
        self._lines.append(mine)

    @property
    def usable(self) -> bool:
        """Whether the processes are there."""
        return bool(self._lines)

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Returns the results of calls, in order; raises ProcessesEnded."""
        dealt: list[list[int]] = [[] for _ in range(self.count)]
        for number, call in enumerate(calls):
            dealt[call[1] % self.count].append(number)
        results: list[Any] = [None] * len(calls)
        try:
            for line, mine in zip(self._lines, dealt, strict=True):
                if mine:
                    line.send([calls[number] for number in mine])
            for process, mine in enumerate(dealt):
                if mine:
                    for number, result in zip(mine, self._receive(process), strict=True):
                        results[number] = result
        except OSError as error:
            self.close()
            raise ProcessesEnded(f"could not be reached: {error}") from error
        except BaseException:  # what others have answered meanwhile is not waited for
            self.close()
            raise
        return results

    def _receive(self, number: int) -> list[Any]:
        line, process = self._lines[number], self._processes[number]
        try:
            if not line.poll(self._patience):
                raise ProcessesEnded(f"gave no answer within {self._patience:g} s")
            answer = line.recv()
        except (EOFError, ConnectionError) as error:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=self._patience)
            raise ProcessesEnded(_how_it_ended(process.returncode)) from error
        if isinstance(answer, Failed):
            if answer.by_user:
                raise UserError(answer.told)
            raise ProcessesEnded(f"failed: {answer.told}")
        return answer

    def close(self) -> None:
        """Ends the processes; may be repeated."""
        for line in self._lines:
            line.close()
        for process in self._processes:
            process.kill()
            with suppress(subprocess.TimeoutExpired):  # within a driver even that may not help
                process.wait(timeout=END)
        self._lines, self._processes = [], []

    def __del__(self) -> None:
        with suppress(Exception):  # nobody is left to be told
            self.close()


def _how_it_ended(status: int | None) -> str:
    if status is not None and status < 0:
        return f"ended with {signal.Signals(-status).name}"
    return f"ended with status {status}"


class Pool:
    """Backends that wait for the next batch, so that evaluations need not start processes anew."""

    def __init__(self) -> None:
        self._idle: list[Backend] = []
        self._alone = False  # processes failed once, so they are not tried again

    def take(self, plan: Plan, copies: int, workers: int) -> Backend:
        """Returns a backend for some copies of a task.

        Args:
            plan: of the task.
            copies: how many there will be.
            workers: processes; 1: this one alone; 0: as many as copies and idle cores.

        Raises:
            UserError: nothing can draw here, or what `Copies` says.
        """
        count = 1 if self._alone or os.name != "posix" else min(copies, workers or cores() - 1)
        for backend in self._idle:
            if backend.plan == plan and backend.count == max(1, count):
                self._idle.remove(backend)
                return backend
        if count > 1:
            try:
                return Processes(plan, count)
            except ProcessesEnded as error:
                self._give_up(plan, count, error)
        return InProcess(plan)

    def replace(self, backend: Backend, error: ProcessesEnded) -> Backend:
        """Returns one that draws in this process, for one that ended."""
        self._give_up(backend.plan, backend.count, error)
        return InProcess(backend.plan)

    def _give_up(self, plan: Plan, count: int, error: ProcessesEnded) -> None:
        """Tries no processes again, and says so."""
        self._alone = True
        print(
            f"{plan.task.name}: one of {count} processes that draw {error}; from here on this "
            "process draws alone (env.workers=1 does so from the start)",
            file=sys.stderr,
        )

    def give(self, backend: Backend) -> None:
        """Takes a backend back."""
        if backend.usable:
            self._idle.append(backend)
        while len(self._idle) > IDLE:
            self._idle.pop(0).close()

    def close(self) -> None:
        """Ends those that wait."""
        while self._idle:
            self._idle.pop().close()


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
