"""How a process uses the machine it runs on: memory, threads, precision of matrix products.

Nothing here changes what is computed, but for the rounding of sums that threads or lower precision
add up in another order.
"""

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lib.core.config import RunConfig
from lib.core.errors import UserError, unknown

WIDE = 512  # hidden units from which more threads pay off without a compiler
FEW = 4  # threads that the fused loops of small networks can use, of twice as many cores
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's mallopt


def keep_memory() -> bool:
    """Lets freed memory stay with this process instead of asking for it anew at every operation.

    Every result above 128 KiB would otherwise be fresh pages that the kernel clears, a sixth of a
    small network's update. Returns whether the C library could be told.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(MMAP_THRESHOLD, 1 << 30) and mallopt(TRIM_THRESHOLD, (1 << 31) - 1))


def threads(width: int, device: torch.device, compiled: bool) -> int:
    """How many CPU threads a run should use, at most as many as PyTorch is allowed now.

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
    """Memory, threads and precision for a training run, given back afterwards."""
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
