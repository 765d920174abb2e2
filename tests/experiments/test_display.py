import threading

import pytest

from lib.experiments import display
from lib.experiments.display import Display

STATE = {"task": "room-1", "phase": "update", "env_steps": 30, "env_steps_total": 40}


def test_work_that_is_over_before_the_first_look_is_shown_where_it_ended(monkeypatch, capsys):
    monkeypatch.setattr(display, "POLL_SECONDS", 3600)
    with Display(lambda began: STATE):
        pass
    assert capsys.readouterr().err == " 75% room-1 (1/1) update, 30/40 env steps, 0 decisions\n"


def test_a_line_is_printed_once_however_often_it_is_looked_at(monkeypatch, capsys):
    monkeypatch.setattr(display, "POLL_SECONDS", 0)
    monkeypatch.setattr(display, "LINE_SECONDS", 0)
    looked, looks = threading.Event(), []

    def look(began: float) -> dict:
        looks.append(began)
        if len(looks) == 3:
            looked.set()
        return STATE

    with Display(look):
        looked.wait()
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("interval", [0, 3600])
def test_work_that_never_said_anything_is_shown_by_nothing(monkeypatch, capsys, interval):
    monkeypatch.setattr(display, "POLL_SECONDS", interval)
    with Display(lambda began: None):
        pass
    assert capsys.readouterr().err == ""


def test_runs_that_learn_from_files_count_updates():
    state = {"env_steps": 0, "env_steps_total": 0, "updates": 30, "updates_total": 1200}
    said = display.describe(state | {"task": "a", "phase": "update", "updates_per_s": 5.0})
    assert said == "a (1/1) update, 30/1,200 updates, 5 updates/s"
