"""Seconds until a run is at full speed, and the memory it takes, each in a process of its own.

A fresh process imports, builds a learner of the base preset, and plans and updates through three
tasks. It is *ready* in a task when the last call that was slow has ended: captures and compiling
happen in first calls. Time counts from the start of the process in the first task, from the task
boundary in later ones. Memory is the most that was in use at any time above what the imports take:
on a CUDA device what PyTorch allocated, else the growth of the process.

`python -m tests.benchmarks.starts` is such a process; `started` runs it.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.core.paths import ROOT
from tests.benchmarks.engine import Engine, updates_until_settled
from tests.benchmarks.learners import FORMS, Learners, Size
from tests.benchmarks.measure import Line, row

TASKS = 3  # first, reviewed, and reviewed once more
PLAIN_ROUNDS = 6  # of planning and learning in each task; nothing is prepared in these
SLOW = 3.0  # times the steady duration, plus SLOW_SECONDS: that call captured or compiled
SLOW_SECONDS = 0.1
LIMIT = 900  # seconds for one process
CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}


@dataclass(frozen=True)
class Start:
    """What one process told."""

    ready: tuple[float, ...]  # (TASKS,) [s]
    memory: float  # [MiB]


def started(size: Size, form: str, device: torch.device, caches: Path | None = None) -> Start:
    """Starts a process and waits for what it tells.

    Args:
        caches: where compiled code is kept; None for where this machine usually keeps it.

    Raises:
        RuntimeError: it failed; the message ends with what it said last.
    """
    threads = torch.get_num_threads()
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if caches:
        env |= {name: str(caches / folder) for name, folder in CACHES.items()}
    began = time.time()
    command = [sys.executable, "-m", "tests.benchmarks.starts", size.preset, form]
    command += ["--lower"] if size.lower else []
    command += ["--many", str(size.many), "--overrides", json.dumps(dict(size.overrides))]
    command += ["--device", str(device), "--threads", str(threads), "--began", repr(began)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:5])} failed: {done.stderr.strip()[-600:]}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return Start(tuple(told["ready"]), told["memory"])


def both(engine: Engine, size: Size) -> tuple[Start, Start, Start | None]:
    """Plain, fast with its compiled code kept from before, and fast with nothing kept.

    A quick benchmark leaves the last one out and takes what this machine has kept.
    """

    def measure() -> tuple[Start, Start, Start | None]:
        plain = started(size, "reference", engine.device)
        if not engine.scale.thorough:
            return plain, started(size, "fast", engine.device), None
        with tempfile.TemporaryDirectory() as folder:
            cold, cached = (started(size, "fast", engine.device, Path(folder)) for _ in range(2))
        return plain, cached, cold

    return engine.once(("start", size), measure)


def starting(engine: Engine, peak: float) -> Iterator[Line]:
    """Seconds until ready and memory of the base preset."""
    size = engine.scale.base
    plain, cached, cold = both(engine, size)
    if cold:
        name = f"ready, first task, nothing cached, {size.label}"
        yield Line(row(name, "s", None, cold.ready[0]))
    for task, name in enumerate(("first task", "reviewed task")):
        seconds = plain.ready[task], cached.ready[task]
        yield Line(row(f"ready, {name}, {size.label}", "s", *seconds))
    yield Line(row(f"memory, {size.label}", "MiB", plain.memory, cached.memory))


# In the process itself -------------------------------------------------------------------------


def ready_after(durations: list[float]) -> float:
    """Seconds until the last slow one of consecutive calls has ended.

    The second half of the calls says how long a call takes once nothing is left to prepare.
    """
    steady = statistics.median(durations[len(durations) // 2 :])
    slow = [i for i, one in enumerate(durations) if one > SLOW * steady + SLOW_SECONDS]
    return sum(durations[: slow[-1] + 1]) if slow else durations[0]


def learn_three_tasks(size: Size, form: str, device: torch.device, began: float) -> Start:
    """Plans and learns in three tasks."""
    used = memory_in_use(device)
    learners = Learners(size.config(form), form, device, task=0)
    ready = []
    for task in range(TASKS):
        entered = time.time()
        if task:
            learners.begin(task)
        states = size.many if form == "fast" else 1
        plans = [learners.planning(states, role) for role in learners.agents[0].roles]
        before = time.time() - (began if task == 0 else entered)
        rounds = 2 * updates_until_settled(learners) if form == "fast" else PLAIN_ROUNDS
        with learners.settled():
            durations = [_timed(learners, plans) for _ in range(rounds)]
        ready.append(before + ready_after(durations))
    return Start(tuple(ready), used())


def _timed(learners: Learners, plans: list[Callable[[], None]]) -> float:
    began = time.perf_counter()
    for plan in plans:
        plan()
    learners.update(1)
    if learners.device.type == "cuda":
        torch.cuda.synchronize(learners.device)
    return time.perf_counter() - began


def memory_in_use(device: torch.device) -> Callable[[], float]:
    """A function that tells the most memory in use since now [MiB]."""
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        return lambda: (torch.cuda.max_memory_allocated(device) - before) / 2**20

    start = most_resident()
    return lambda: most_resident() - start


def most_resident() -> float:
    """The most memory that this process ever held [MiB]."""
    try:  # getrusage counts what the parent process held as well, see getrusage(2)
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**10
    except (OSError, TypeError):
        import resource  # not on Windows

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.starts")
    parser.add_argument("preset")
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("--many", type=int, default=8, help="states of a plan")
    parser.add_argument("--overrides", type=json.loads, default={}, help="settings as JSON")
    parser.add_argument("--lower", action="store_true", help="in lower precision")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--began", type=float, default=0.0, help="time.time() at the start")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    size = Size(given.preset, given.many, tuple(given.overrides.items()), lower=given.lower)
    start = learn_three_tasks(size, given.form, given.device, given.began or time.time())
    print(json.dumps({"ready": start.ready, "memory": start.memory}))


if __name__ == "__main__":
    main()
