import mmap
import re
from pathlib import Path

import pytest
import torch

from tests.benchmarks import starts


def test_ready_is_when_the_last_slow_call_has_ended():
    # recorded in the first call, and again in the fourth for another kind of update
    durations = [2.0, 0.01, 0.01, 0.5, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]
    assert starts.ready_after(durations) == pytest.approx(2.52)


def test_without_a_slow_call_one_call_is_enough():
    assert starts.ready_after([0.02, 0.01, 0.01, 0.012]) == 0.02


def test_memory_is_the_most_that_was_held_since():
    # a process may have held more once than it does now
    now = int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10
    used = starts.memory_in_use(torch.device("cpu"))
    before = used()
    # pages of its own, as memory that was freed here may still be held
    with mmap.mmap(-1, int((starts.most_resident() - now + 64) * 2**20)) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    assert before < 1 and used() > 32


def test_a_process_that_fails_says_why(monkeypatch):
    size = starts.Size("grid-quick", 8, (("no.such.setting", 1),))
    with pytest.raises(RuntimeError, match="unknown setting"):
        starts.started(size, "fast", torch.device("cpu"))
