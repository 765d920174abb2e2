"""Bench files are read whole or refused in one line."""

import json
import math

import pytest

from lib.analysis import bench
from lib.core.errors import UserError

ROW = {
    "name": "plans, 1 state, grid-quick",
    "unit": "plans/s",
    "reference": 10.0,
    "fast": 30.0,
    "ratio": 3.0,
    "share_of_peak": 0.5,
}
TOLD = {
    "hardware": {"cpu": "a processor", "cores": 2, "gpu": None},
    "commit": "abc",
    "versions": {"torch": "2"},
    "threads": 1,
    "device": "cpu",
    "command": "make bench",
    "peak": {"float32": 100.0},
    "rows": [ROW],
}


def written(folder, **changes):
    path = folder / "latest.json"
    path.write_text(json.dumps(TOLD | changes))
    return path


def row(name, reference=1.0, fast=2.0, **changes):
    return {**ROW, "name": name, "reference": reference, "fast": fast, **changes}


def test_a_file_comes_back_with_its_machine_and_rows(tmp_path):
    found = bench.read(written(tmp_path))
    assert found.machine == "a processor" and found.device == "cpu"
    assert bench.to_dict(found.rows) == [ROW]
    assert ("matrix products [GFLOP/s]", "100 (float32)") in found.card()


def test_what_is_published_can_be_read():
    for path in bench.PUBLISHED.glob("bench-*.json"):
        assert bench.read(path).rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [{"name": "x", "ratio": 1}]}, "row 1 holds name, ratio, wanted name, unit, ref"),
        ({"rows": [ROW, "x"]}, "row 2 holds str"),
    ],
)
def test_another_layout_is_refused_with_what_to_do(tmp_path, changes, message):
    with pytest.raises(UserError, match=f"{message}.*measure again with: make bench"):
        bench.read(written(tmp_path, **changes))


def test_a_file_that_lacks_a_part_is_refused_by_its_name(tmp_path):
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"rows": []}))
    with pytest.raises(UserError, match="has no hardware, commit, versions"):
        bench.read(path)
    path.write_text("[1")
    with pytest.raises(UserError, match="is not JSON"):
        bench.read(path)
    with pytest.raises(UserError, match="no bench file .*make bench"):
        bench.read(tmp_path / "other.json")


def test_the_latest_file_is_found_before_the_published_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "LATEST", tmp_path / "latest.json")
    monkeypatch.setattr(bench, "PUBLISHED", tmp_path)
    with pytest.raises(UserError, match="make one with: make bench"):
        bench.find()
    for name in ("bench-cpu.json", "bench-h200.json"):
        (tmp_path / name).write_text(json.dumps(TOLD))
    assert [one.path.stem for one in bench.find()] == ["bench-cpu", "bench-h200"]
    path = written(tmp_path)
    assert [one.path for one in bench.find()] == [path]


def test_rows_are_grouped_by_their_first_words(tmp_path):
    names = {
        "plans, 8 states, grid-quick": "planning",
        "reviewer plans, 8 states, grid-quick": "planning",
        "plan, E = 4, grid-quick": "growth",
        "cheetah-run, 64 copies, 1 thread": "environments",
        "hours, 4 tasks, grid-quick": "hours",
    }
    found = bench.read(written(tmp_path, rows=[row(name) for name in names]))
    assert [one.group for one in found.rows] == list(names.values())
    assert set(names.values()) <= set(bench.PARTS)
    assert "--only seeds" in found.without("stacked seeds")


def test_growth_is_gathered_into_curves_with_the_setting_increasing(tmp_path):
    rows = [
        row("plan, E = 16, grid-quick", 160.0, 20.0),
        row("plan, E = 1, grid-quick", 10.0, None),
        row("update, width = 96, grid-quick", 3.0, 4.0),
    ]
    first, second = bench.growths(bench.read(written(tmp_path, rows=rows)).rows)
    assert (first.what, first.letter, first.size) == ("plan", "E", "grid-quick")
    assert first.x == (1.0, 16.0) and first.reference == (10.0, 160.0)
    assert math.isnan(first.fast[0]) and first.fast[1] == 20.0
    assert (second.what, second.letter, second.x) == ("update", "width", (96.0,))


def test_a_ratio_is_above_one_where_the_fast_form_is_better_whatever_the_unit():
    assert bench.better("plans/s", 10.0, 30.0) == 3.0
    assert bench.better("ms", 30.0, 10.0) == 3.0
    assert bench.better("s", None, 10.0) is None
    assert bench.better("MiB", 5.0, 0.0) is None


def test_aims_are_asked_of_the_device_that_they_are_about(tmp_path):
    name = "end to end, whole run, grid-quick"
    (found,) = bench.read(written(tmp_path, rows=[row(name, ratio=6.0)])).aims()
    aim, value = found
    assert value == 6.0 and aim.met(value) and not aim.met(4.0)
    assert aim.asked() == "at least 5"
    gpu = {"hardware": {"gpu": "NVIDIA H200, 140 GiB"}, "device": "cuda"}
    rows = [row(name), row("plans, 1 state, cheetah-full-lower", fast=300.0)]
    ((aim, value),) = bench.read(written(tmp_path, rows=rows, **gpu)).aims()
    assert value == 300.0 and aim.met(value) and aim.words.endswith("lower precision")


def test_what_compiling_costs_is_won_back_by_updates(tmp_path):
    rows = [
        row("ready, first task, nothing cached, grid-quick", None, 42.0),
        row("ready, first task, grid-quick", 2.0, 5.0),
        row("updates, first task, grid-quick", 50.0, 100.0),  # 20 ms against 10 ms
    ]
    assert bench.payback(bench.read(written(tmp_path, rows=rows))) == pytest.approx((40.0, 4_000.0))
    assert bench.payback(bench.read(written(tmp_path, rows=rows[:1]))) is None


@pytest.mark.parametrize(
    ("device", "name", "short"),
    [
        ("cuda", "NVIDIA H200, 140 GiB", "h200"),
        ("cuda", "NVIDIA A100-SXM4-80GB, 79 GiB", "a100-sxm4-80gb"),
        ("cuda", "NVIDIA GeForce RTX 4090, 24 GiB", "rtx-4090"),
        ("cpu", "AMD EPYC", "cpu"),
    ],
)
def test_a_published_file_is_named_after_the_device(device, name, short):
    assert bench.slug(device, name) == short
