import json

import pytest
import torch

from lib.analysis import bench
from tests.benchmarks import measure
from tests.benchmarks.measure import Effort, Form, Found, Line

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when it is told to."""
    now = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    return now


def form(clock, order, name, seconds, work):
    def call():
        order.append(name)
        clock[0] += seconds

    return Form(call, work)


def test_both_forms_take_turns_and_medians_are_compared(clock):
    order = []
    slow, fast = form(clock, order, "slow", 1.0, 1), form(clock, order, "fast", 0.5, 4)
    found = measure.compare(slow, fast, CPU, Effort(turns=3, seconds=2.0, patience=9.0))
    # warm-up and one call to count with, then 2 s a turn: 2 calls of one, 4 of the other
    turn = ["slow"] * 2 + ["fast"] * 4
    assert order == ["slow"] * 2 + ["fast"] * 2 + turn * 3
    # one unit a second against four in half a second
    assert (found.reference, found.fast, found.spread) == (1.0, 8.0, 0.0)


def test_a_long_call_counts_at_once_and_gets_fewer_turns(clock):
    order = []
    slow, fast = form(clock, order, "slow", 5.0, 1), form(clock, order, "fast", 0.1, 1)
    measure.compare(slow, fast, CPU, Effort(turns=5, seconds=0.1, patience=2.0))
    assert order.count("slow") == 1 + 3  # warm-up, and three measurements
    assert len(slow.rates) == len(fast.rates) == 3


def test_operations_of_a_matrix_product_are_counted_as_on_paper():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert measure.count_flops(lambda: a @ b) == 2 * 3 * 5 * 7  # a multiply and an add each


def test_operations_of_a_gradient_are_counted_too():
    weight = torch.ones(5, 7, requires_grad=True)
    call = lambda: (torch.ones(3, 5) @ weight).sum().backward()  # noqa: E731
    assert measure.count_flops(call) == 2 * 2 * 3 * 5 * 7  # forward, and the weight's gradient


def test_a_share_of_the_peak_is_operations_per_second_over_it():
    found = Found(reference=10.0, fast=30.0, spread=0.0, flops=2e9)
    assert found.rate("x", "plans/s", peak=100.0).row.share_of_peak == pytest.approx(0.6)
    assert found.rate("x", "plans/s").row.share_of_peak is None
    assert Found(10.0, 30.0, 0.0).rate("x", "plans/s", 100.0).row.share_of_peak is None


def test_a_duration_is_what_so_much_work_takes():
    row = Found(reference=100.0, fast=400.0, spread=0.0).duration("x", work=8).row
    assert (row.reference, row.fast, row.ratio, row.unit) == (80.0, 20.0, 4.0, "ms")


def test_the_peak_is_measured_and_the_precision_left_as_it_was(monkeypatch):
    monkeypatch.setitem(measure.SQUARE, "cpu", 64)
    before = torch.get_float32_matmul_precision()
    found = measure.peaks(CPU, turns=1)
    assert set(found) == {"float32"} and found["float32"] > 0
    assert torch.get_float32_matmul_precision() == before


def test_the_table_and_the_file_hold_every_row(tmp_path):
    lines = [
        Line(measure.row("plans, 1 state, grid-quick", "plans/s", 10.0, 250.0, 0.5), 0.2),
        Line(measure.row("ready, first task, grid-quick", "s", None, 4.0)),
    ]
    text = measure.table(lines)
    assert "250.0" in text and "25.0" in text and "50.0%" in text and "10%" in text
    assert "–" in text.splitlines()[2] and "plans/s" in text
    path = tmp_path / "bench" / "latest.json"
    measure.write(path, lines, {"device": "cpu", "command": "x", "peak": {"float32": 1.0}})
    told = json.loads(path.read_text())
    assert {"hardware", "commit", "versions", "threads", "command", "peak"} <= told.keys()
    names = ["name", "unit", "reference", "fast", "ratio", "share_of_peak"]
    assert [list(row) for row in told["rows"]] == [names, names]
    assert told["rows"][1]["reference"] is None and told["rows"][1]["ratio"] is None
    assert bench.read(path).rows == tuple(line.row for line in lines)
