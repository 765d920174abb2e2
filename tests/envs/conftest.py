"""What the environment tests share: tables built once, and a guard against host reads."""

from collections.abc import Callable

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lib.envs.grid.table import GridTable

READS_THE_DEVICE = ("_local_scalar_dense", "nonzero", "equal.default", "is_nonzero", "item")


class NoHostReads(TorchDispatchMode):
    """Fails on any operation whose result the host must wait for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(name in str(func) for name in READS_THE_DEVICE), f"{func} reads the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_host_reads() -> Callable[[], TorchDispatchMode]:
    return NoHostReads


@pytest.fixture(scope="session")
def full_table() -> GridTable:
    return GridTable.build(27)


@pytest.fixture(scope="session")
def small_table() -> GridTable:
    return GridTable.build(13)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
