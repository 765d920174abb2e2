"""How two forms of one piece of work are timed, and how what was found is written down.

Reference and fast form take turns, so that a busy machine slows both alike, and each is reported
as the median of its turns. Everything is measured as work done per second.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from lib.analysis.bench import Row, better, to_dict
from lib.core.files import atomic_write
from lib.runner.provenance import commit, hardware, versions

GIGA = 1e9
SQUARE = {"cpu": 1_536, "cuda": 8_192}  # side of the matrices whose product gives the peak


@dataclass(frozen=True)
class Effort:
    """How long is measured."""

    turns: int = 5  # measurements of each form
    seconds: float = 0.25  # least length of one measurement
    patience: float = 1.5  # a form whose single call takes longer gets three turns at most


THOROUGH = Effort()
QUICK = Effort(turns=3, seconds=0.05, patience=0.5)


@dataclass
class Form:
    """One way to do a piece of work.

    Args:
        call: does it once.
        work: units of work in a call.
        warm: calls before anything is timed; capturing and compiling happen in these.
        settled: gives what every call runs in, such as a number of threads.
    """

    call: Callable[[], object]
    work: float
    warm: int = 1
    settled: Callable[[], AbstractContextManager[Any]] = nullcontext
    rates: list[float] = field(default_factory=list)  # units of work per second
    calls: int = 1  # in one measurement

    def prepare(self, device: torch.device, effort: Effort) -> None:
        """Warms up and finds how many calls make a measurement."""
        self.run(device, self.warm)
        once = self.run(device, 1)
        self.calls = max(1, round(effort.seconds / max(once, 1e-6)))
        if self.calls == 1:  # long enough to count as the first measurement
            self.rates.append(self.work / once)

    def take_turn(self, device: torch.device) -> None:
        self.rates.append(self.work * self.calls / self.run(device, self.calls))

    def run(self, device: torch.device, calls: int) -> float:
        """Seconds that so many calls take."""
        with self.settled():
            began = time.perf_counter()
            for _ in range(calls):
                self.call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return time.perf_counter() - began


@dataclass(frozen=True)
class Found:
    """Rates of both forms [units of work per second], and floating-point operations of a unit."""

    reference: float
    fast: float
    spread: float  # of the fast form's turns: (largest - smallest) / median
    flops: float = 0.0  # of one unit in the plain form, 0 where not counted

    def rate(self, name: str, unit: str, peak: float = 0.0) -> "Line":
        """A row of units per second. `peak` [GFLOP/s] gives the share of it, where counted."""
        share = self.flops * self.fast / (peak * GIGA) if self.flops and peak else None
        return Line(row(name, unit, self.reference, self.fast, share), self.spread)

    def duration(self, name: str, work: float = 1.0) -> "Line":
        """A row of milliseconds for so many units of work."""
        reference, fast = 1e3 * work / self.reference, 1e3 * work / self.fast
        return Line(row(name, "ms", reference, fast), self.spread)


@dataclass(frozen=True)
class Line:
    """A row and what is printed of it only."""

    row: Row
    spread: float | None = None


def row(
    name: str, unit: str, reference: float | None, fast: float | None, share: float | None = None
) -> Row:
    """A row whose ratio is above 1 where the fast form is better, whatever the unit."""
    return Row(name, unit, reference, fast, better(unit, reference, fast), share)


def compare(
    reference: Form, fast: Form, device: torch.device, effort: Effort, flops: float = 0.0
) -> Found:
    """Times two forms in turns and compares medians.

    Args:
        flops: floating-point operations of one unit of work, see `count_flops`.
    """
    forms = (reference, fast)
    for form in forms:
        form.prepare(device, effort)
    long = any(form.rates and form.work / form.rates[0] > effort.patience for form in forms)
    turns = min(effort.turns, 3) if long else effort.turns
    for _ in range(turns):
        for form in forms:
            if len(form.rates) < turns:
                form.take_turn(device)
    slow, quick = (statistics.median(form.rates) for form in forms)
    return Found(slow, quick, (max(fast.rates) - min(fast.rates)) / quick, flops)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch with one CPU thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_flops(call: Callable[[], object]) -> float:
    """Floating-point operations in the matrix products of one call, 2 for a multiply and add.

    Meant for plain forms: what a captured graph or compiled code computes is not seen.
    """
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def peaks(device: torch.device, turns: int = 5) -> dict[str, float]:
    """Most that products of large square matrices reach here [GFLOP/s], by arithmetic.

    `float32` is exact single precision, which shares of the peak refer to; a CUDA device also
    tells `tf32` (float32 rounded to 10 bits of mantissa on the way in) and `bfloat16`.
    """
    size = SQUARE[device.type]
    kinds = ["float32", "tf32", "bfloat16"] if device.type == "cuda" else ["float32"]
    found, before = {}, torch.get_float32_matmul_precision()
    try:
        for kind in kinds:
            torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
            dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
            draws = torch.Generator(device).manual_seed(0)
            square = torch.randn(size, size, generator=draws, device=device).to(dtype)
            form = Form(lambda square=square: square @ square, 2 * size**3 / GIGA, warm=2)
            form.prepare(device, Effort(seconds=0.1))
            for _ in range(turns):
                form.take_turn(device)
            found[kind] = max(form.rates)
    finally:
        torch.set_float32_matmul_precision(before)
    return found


# Written down ----------------------------------------------------------------------------------

NAME = 46  # characters


def heading() -> str:
    """The table's first line."""
    return f"{'':{NAME}} {'reference':>12} {'fast':>12} {'ratio':>8} {'of peak':>8} {'±':>7}  unit"


def text(line: Line) -> str:
    """A row as a line of the table, a dash where there is no number."""

    def cell(value: float | None, width: int, form: str) -> str:
        return f"{'–':>{width}}" if value is None else f"{value:>{width}{form}}"

    found = line.row
    half = None if line.spread is None else line.spread / 2
    numbers = (
        cell(found.reference, 12, _form(found.reference)),
        cell(found.fast, 12, _form(found.fast)),
        cell(found.ratio, 8, ".1f"),
        cell(found.share_of_peak, 8, ".1%"),
        cell(half, 7, ".0%"),
    )
    return f"{found.name:{NAME}} {' '.join(numbers)}  {found.unit}"


def _form(value: float | None) -> str:
    """Digits that a number of that size deserves."""
    return ",.3f" if value is not None and abs(value) < 10 else ",.1f"


def table(lines: Iterable[Line]) -> str:
    """All rows as text, columns aligned."""
    return "\n".join([heading(), *(text(line) for line in lines)])


def write(path: Path, lines: Iterable[Line], about: Mapping[str, Any]) -> None:
    """Replaces the file by these rows and what they were measured on.

    Args:
        about: what the measuring program adds: device, command, peak.
    """
    told: dict[str, Any] = {
        "hardware": hardware(),
        "commit": commit(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        **about,
        "rows": to_dict(line.row for line in lines),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(told, indent=1) + "\n")
