"""Sets a process's memory, threads and matrix precision, and checks that a run fits the machine.

Nothing here changes what is computed, but for the rounding of sums that threads or lower precision
add up in another order.
"""

import ctypes
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch

from lib.core import config
from lib.core.config import RunConfig
from lib.core.errors import UserError, unknown

WIDE = 512  # hidden units from which more threads pay off without a compiler
FEW = 4  # threads that the fused loops of small networks can use, of twice as many cores
CONTAINER = Path("/sys/fs/cgroup/memory.max")  # bytes that a container may use, or "max"
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's mallopt
NEVER = -1


def keep_memory() -> bool:
    """Lets freed memory stay with this process instead of asking for it anew at every operation.

    Every result above 128 KiB would otherwise be fresh pages that the kernel clears, a sixth of a
    small network's update; and whatever an update of large pictures frees, several GB, would come
    anew with the next one, a fifth of it. So a process stays as large as it once was. Returns
    whether the C library could be told.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(MMAP_THRESHOLD, 1 << 30) and mallopt(TRIM_THRESHOLD, NEVER))


def threads(width: int, device: torch.device, compiled: bool) -> int:
    """Returns how many CPU threads a run should use, at most as many as PyTorch may use now.

    Small operations leave half of the cores alone: threads wait for each other a hundred times in
    an update, so a neighbour on the last core makes two of them 16 times slower than one.
    """
    allowed = torch.get_num_threads()
    if device.type != "cpu":
        return 1
    if width >= WIDE:
        return allowed
    return max(1, min(FEW, allowed // 2)) if compiled else 1


@contextmanager
def settled(cfg: RunConfig, device: torch.device, compiled: bool) -> Iterator[None]:
    """Sets memory, threads and precision for a training run, and restores the latter two."""
    before = torch.get_num_threads()
    exact = torch.get_float32_matmul_precision()
    keep_memory()
    torch.set_num_threads(cfg.engine.threads or threads(cfg.width, device, compiled))
    torch.set_float32_matmul_precision("high" if cfg.engine.matmul == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_float32_matmul_precision(exact)


def choose_device(name: str) -> torch.device:
    """Returns the device of a name; "auto" takes CUDA where it is usable, else the CPU.

    Raises:
        UserError: no name of a device, or one that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise unknown("device", name, ["auto", "cpu", "cuda", "cuda:0"])
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device '{name}' was asked for but PyTorch sees no CUDA device here; "
            "use device 'cpu' or 'auto'"
        )
    if device.index is not None and device.index >= (count := torch.cuda.device_count()):
        raise UserError(f"device '{name}': this machine has {count}, counted from 'cuda:0'")
    return device


Run = TypeVar("Run", bound=RunConfig)


def total_bytes(device: torch.device) -> int:
    """Returns how much memory the device has, or the part of it that a container may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no container, or one without a limit
        total = min(total, int(CONTAINER.read_text()))
    return total


def check_fits(
    run: Run, usual: Run, least_bytes: Callable[[Run], int], seeds: int, device: torch.device
) -> None:
    """Refuses a run that the device's memory cannot hold. Nothing is allocated.

    Args:
        usual: the run with its preset's values, in which the setting at fault is looked for.
        least_bytes: what one seed takes at least.
        seeds: how many are trained at once.

    Raises:
        UserError: it names the setting to which most of the excess is due, and its largest value.
    """
    room, needed = total_bytes(device), seeds * least_bytes(run)
    if needed <= room:
        return
    said = f"needs at least {_gigabytes(needed)} of memory and this {device.type} device has "
    said += _gigabytes(room)
    changed = {}
    for name in config.dotted_keys(run):
        given, before = _setting(run, name), _setting(usual, name)
        if isinstance(given, int | tuple) and given != before:
            changed[name] = least_bytes(config.set_dotted(run, {name: before}))
    fault = min(changed, key=changed.__getitem__, default=None)
    if fault is None or seeds * changed[fault] > room:
        what = f"preset '{run.preset}'" if fault is None else f"this run ({', '.join(changed)})"
        raise UserError(
            f"{what} {said}; take a smaller preset or smaller sizes"
            f"{', fewer seeds' if seeds > 1 else ''}, or a machine with more memory"
        )
    given, low = _setting(run, fault), _setting(usual, fault)
    allowed = f"{low}, as in preset '{run.preset}'"
    if isinstance(given, int):
        high = given
        while high - low > max(1, low // 100):  # one per cent is exact enough
            middle = (low + high) // 2
            fits = seeds * least_bytes(config.set_dotted(run, {fault: middle})) <= room
            low, high = (middle, high) if fits else (low, middle)
        allowed = f"at most about {low}"
    shown = list(given) if isinstance(given, tuple) else given
    raise UserError(f"setting '{fault}': {shown} {said}; take {allowed}")


def _setting(run: RunConfig, dotted: str) -> object:
    """Returns the value of a setting by its dotted name."""
    value: object = run
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count < 1e15 else f"{count / 1e9:.1e} GB"
