"""Comparing what two runs left behind."""

import json
from pathlib import Path

import numpy as np

from lib.runner import checkpoint
from tests.tiny import same

CLOCK = {"wall_clock_s": 0, "seeds_together": 0, "commit": ""}  # what it says of when it was made


def summary(out: Path) -> dict:
    """The contents of summary.json."""
    return json.loads((out / "summary.json").read_text())


def assert_same_run(one: Path, other: Path) -> None:
    """The same bytes in metrics and weights, whatever the clock said."""
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    states = []
    for out in (one, other):
        state, meta = checkpoint.load(out / "checkpoints" / "last.safetensors")
        state["counters"].pop("seconds")
        states.append({"state": state, "meta": meta})
    assert same(*states) == []
    for name in ("task-1.safetensors", "task-2.safetensors"):
        parts = [out / "checkpoints" / name for out in (one, other)]
        assert parts[0].read_bytes() == parts[1].read_bytes()
    for task in (1, 2):
        arrays = [np.load(out / "audits" / f"task-{task}.npz") for out in (one, other)]
        assert arrays[0].files == arrays[1].files
        for name in arrays[0].files:
            assert arrays[0][name].tobytes() == arrays[1][name].tobytes()
    assert summary(one) | CLOCK == summary(other) | CLOCK
