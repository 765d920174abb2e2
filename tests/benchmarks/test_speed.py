import json

import pytest
import torch

from tests.benchmarks import speed


def test_the_table_and_the_file_hold_every_row(tmp_path):
    rows = [speed.Row("planning", "plans/s", 10.0, 250.0, 25.0)]
    assert "250.0" in speed.table(rows) and "plans/s" in speed.table(rows)
    speed.write(tmp_path / "bench" / "latest.json", rows)
    told = json.loads((tmp_path / "bench" / "latest.json").read_text())
    assert told["rows"] == [
        {"name": "planning", "unit": "plans/s", "reference": 10.0, "fast": 250.0, "ratio": 25.0}
    ]
    assert {"hardware", "commit", "versions", "threads"} <= told.keys()


def test_both_forms_take_turns_and_medians_are_compared(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])

    def form(name: str, seconds: float):
        def call() -> None:
            order.append(name)
            now[0] += seconds

        return call

    row = speed.compare(
        "x", "y/s", (form("slow", 1.0), 1), (form("fast", 0.5), 4), torch.device("cpu")
    )
    # one unit a second against four in half a second
    assert (row.reference, row.fast, row.ratio) == (1.0, 8.0, 8.0)
    assert order[4:8] == ["slow", "fast", "slow", "fast"]


@pytest.mark.slow
def test_batched_forms_are_faster(capsys):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = speed.measure(device)
    speed.write(speed.OUT, rows)
    with capsys.disabled():
        print(f"\n{speed.table(rows)}\nwritten to {speed.OUT}")
    ratios = {row.name: row.ratio for row in rows}
    assert ratios["environment, 4096 copies in a table"] > 100
    # One core is busy with a single state's candidates already; an accelerator is not.
    assert ratios["planning for 64 states at once"] > (2 if device.type == "cuda" else 0.7)
