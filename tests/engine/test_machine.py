import ctypes
import os
import subprocess
import sys

import pytest
import torch

from lib.engine import machine
from tests.tiny import changed, tiny


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("width", "device", "compiled", "wanted"),
    [
        (96, "cpu", False, 1),  # small operations lose more by waiting than they gain
        (96, "cpu", True, 2),  # half of the cores stay free
        (512, "cpu", False, 4),
        (512, "cpu", True, 4),
        (512, "cuda", False, 1),  # the host only launches
    ],
)
def test_threads_follow_width_and_compiler(four_threads, width, device, compiled, wanted):
    assert machine.threads(width, torch.device(device), compiled) == wanted


def test_no_more_threads_than_pytorch_may_use(four_threads):
    torch.set_num_threads(2)
    assert machine.threads(96, torch.device("cpu"), compiled=True) == 1
    assert machine.threads(2048, torch.device("cpu"), compiled=False) == 2


def test_settings_are_given_back_even_after_an_error(four_threads):
    cfg = changed(tiny(), engine__matmul="tf32")
    with pytest.raises(RuntimeError), machine.settled(cfg, torch.device("cpu"), compiled=False):
        assert torch.get_num_threads() == 1
        assert torch.get_float32_matmul_precision() == "high"
        raise RuntimeError
    assert torch.get_num_threads() == 4
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_number_of_threads_can_be_asked_for(four_threads):
    cfg = changed(tiny(), engine__threads=3)
    with machine.settled(cfg, torch.device("cpu"), compiled=False):
        assert torch.get_num_threads() == 3


def test_products_are_exact_unless_asked_otherwise():
    with machine.settled(tiny(), torch.device("cpu"), compiled=False):
        assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(not machine.keep_memory(), reason="the C library here is not glibc")
def test_freed_memory_is_used_again_without_new_pages():
    import resource

    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def work() -> None:
        for _ in range(50):
            torch.ones(1 << 20).add_(1)  # 4 MiB each

    work()
    before = faults()
    work()
    assert faults() - before < 1_024  # 51,200 if every page came anew


@pytest.mark.slow
@pytest.mark.skipif(not machine.keep_memory(), reason="the C library here is not glibc")
def test_what_a_large_update_frees_is_used_again_however_much_it_is():
    # 2.4 GB in three blocks, more than any threshold of trimming would leave, which is less than
    # 2^31; in a process of its own, which keeps them. Every page anew would be 585,937 faults.
    code = """
import ctypes, resource
from lib.engine import machine
machine.keep_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    before, blocks = faults(), [libc.malloc(800_000_000) for _ in range(3)]
    for block in blocks:
        ctypes.memset(block, 1, 800_000_000)
    for block in blocks:
        libc.free(block)
    return faults() - before
print(work(), work())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = map(int, told.stdout.split())
    assert first > 1_024 > second


def test_a_c_library_without_such_settings_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert machine.keep_memory() is False


@pytest.mark.parametrize(("set_before", "wanted"), [(None, "5000"), ("7", "7")])
def test_waiting_threads_give_up_their_core_soon_unless_told_otherwise(set_before, wanted):
    given = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    if set_before:
        given["GOMP_SPINCOUNT"] = set_before
    code = "import lib, os; print(os.environ['GOMP_SPINCOUNT'])"
    told = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True)
    assert told.stdout.strip() == wanted
