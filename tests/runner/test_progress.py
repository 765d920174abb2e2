import errno
import json
import os

import pytest

from lib.runner import progress
from lib.runner.progress import Progress


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock that the test winds: its first entry is the time."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def show(shown: Progress, phase: str = "update", **changes) -> None:
    numbers = {"task_index": 0, "env_steps": 0, "decisions": 0, "updates": 0, "pending": 0}
    shown.show(phase, **numbers | changes)


def read(tmp_path) -> dict:
    return json.loads((tmp_path / "progress.json").read_text())


def test_the_file_says_where_the_run_stands_and_how_long_it_still_takes(tmp_path, clock):
    # 100 of 1000 steps in 10 s: 10 a second, 90 s for the other 900
    shown = Progress(tmp_path / "progress.json", ["room-1", "room-2"], 1000, show=False)
    show(shown)
    clock[0] += 10
    shown.result(7.5, 60.0)
    show(shown, env_steps=100, decisions=50, updates=30, pending=4)
    assert read(tmp_path) == {
        "task": "room-1",
        "task_index": 0,
        "tasks": 2,
        "env_steps": 100,
        "env_steps_total": 1000,
        "decisions": 50,
        "updates": 30,
        "updates_pending": 4,
        "env_steps_per_s": 10.0,
        "eta_s": 90.0,
        "phase": "update",
        "last_return": 7.5,
        "optimum": 60.0,
    }
    shown.close()


def test_several_seeds_are_one_piece_of_work(tmp_path, clock, capsys):
    # 3 seeds of 2 tasks of 500 steps; one of them finished its 1000 steps elsewhere
    shown = Progress(
        tmp_path / "progress.json", ["a", "b"], 1000, show=True, seeds=[0, 1, 5], elsewhere=1000
    )
    show(shown)
    clock[0] += 10
    show(shown, env_steps=400)
    told = read(tmp_path)
    assert (told["env_steps"], told["env_steps_total"]) == (1400, 3000)
    assert (told["env_steps_per_s"], told["eta_s"]) == (40.0, 40.0)
    assert told["seeds"] == [0, 1, 5]
    shown.close()
    assert "3 seeds, a (update)" in capsys.readouterr().err


def test_a_resumed_run_counts_its_speed_from_where_it_resumed(tmp_path, clock):
    shown = Progress(tmp_path / "progress.json", ["room-1"], 1000, show=False)
    show(shown, env_steps=800)
    clock[0] += 10
    show(shown, env_steps=900)
    assert (read(tmp_path)["env_steps_per_s"], read(tmp_path)["eta_s"]) == (10.0, 10.0)


def test_the_file_is_rewritten_about_once_a_second_and_always_at_the_end(tmp_path, clock):
    shown = Progress(tmp_path / "progress.json", ["room-1"], 1000, show=False)
    seen = []
    for step in range(8):
        show(shown, env_steps=step)
        seen.append(read(tmp_path)["env_steps"])
        clock[0] += 0.4
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6]
    show(shown, "done", task_index=1, env_steps=1000)
    assert read(tmp_path)["env_steps"] == 1000 and read(tmp_path)["task"] == "room-1"
    assert not list(tmp_path.glob(".*partial"))


def test_the_bar_names_task_phase_and_return(tmp_path, clock, capsys):
    shown = Progress(tmp_path / "progress.json", ["room-1"], 1000, show=True)
    shown.result(7.51, 60.0)
    show(shown, env_steps=10)
    clock[0] += 60
    show(shown, "evaluate", env_steps=500)
    shown.close()
    text = capsys.readouterr().err
    assert "room-1 (evaluate)" in text and "return 7.5 of 60" in text


def test_no_bar_means_silence(tmp_path, clock, capsys):
    shown = Progress(tmp_path / "progress.json", ["room-1"], 1000, show=False)
    show(shown, env_steps=10)
    shown.close()
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_work_goes_on_where_the_file_cannot_be_written(tmp_path, clock, monkeypatch):
    shown = Progress(tmp_path / "progress.json", ["room-1"], 1000, show=False)
    show(shown, env_steps=10)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    clock[0] += 10
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        show(shown, env_steps=20)
    assert read(tmp_path)["env_steps"] == 10
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    clock[0] += 10
    show(shown, env_steps=30)
    assert read(tmp_path)["env_steps"] == 30
