import os

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
    running_means = starts.memory_meter(torch.device("cpu"))
    before = running_means()
    block = bytearray(os.urandom(1)) * (256 * 2**20)
    del block
    assert before < 1 and running_means() > 32


def test_a_process_that_fails_says_why(monkeypatch):
    size = starts.Size("grid-quick", 8, (("no.such.setting", 1),))
    with pytest.raises(RuntimeError, match="unknown setting"):
        starts.started(size, "fast", torch.device("cpu"))
