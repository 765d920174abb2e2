"""A window of evaluation episodes, on SDL's driver that shows nothing."""

import sys

import numpy as np
import pytest
import torch

from lib.core.errors import UserError
from lib.replay.buffer import Episodes
from lib.runner import window
from lib.runner.film import Scenes
from lib.runner.training import train
from lib.runner.window import Window, check_screen
from tests.runner.test_film import OBS, PLAYED, POSES, domain
from tests.tiny import tiny


@pytest.fixture
def screen(monkeypatch):
    """SDL without a screen, and no waiting between frames."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(window, "PER_SECOND", 0)
    return window._pygame()


@pytest.fixture
def no_screen(monkeypatch):
    for name in window.SCREENS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: the brightness and caption of every frame."""
    found, draw = [], Window._draw

    def note(self, frame, caption):
        found.append((int(frame[0, 0, 0]), caption))
        draw(self, frame, caption)

    monkeypatch.setattr(Window, "_draw", note)
    return found


def test_a_window_is_refused_where_there_is_no_screen(no_screen):
    with pytest.raises(UserError, match="no screen .*video=every.*xvfb-run"):
        check_screen("human")
    check_screen("")


@pytest.mark.parametrize("name", window.SCREENS)
def test_a_screen_is_known_by_the_environment(no_screen, monkeypatch, name):
    monkeypatch.setenv(name, ":0")
    check_screen("human")


def test_an_unknown_way_to_render_is_refused():
    with pytest.raises(UserError, match="unknown render 'humans'; known: human"):
        check_screen("humans")


def test_training_refuses_before_it_starts(no_screen, tmp_path):
    with pytest.raises(UserError, match="no screen"):
        train(tiny("tdmpc", tasks=["room-1"]), tmp_path / "run", render="human")
    assert not (tmp_path / "run").exists()


def test_every_pose_is_shown_under_its_caption(screen, drawn):
    shown = Window("human", Scenes())
    shown.show(domain(), 1, POSES, PLAYED)
    assert [grey for grey, _ in drawn] == [0, 1, 2, 3]
    assert "second" in drawn[-1][1] and "return 3.0" in drawn[-1][1]
    assert screen.display.get_surface().get_size() == (shown.size[0], shown.size[1])
    shown.close()
    assert not screen.display.get_init()


def test_an_episode_that_ended_early_ends_early(screen, drawn):
    ended = Episodes(OBS, PLAYED.action, PLAYED.reward, torch.tensor([1]))
    Window("human", Scenes()).show(domain(), 0, POSES, ended)
    assert len(drawn) == 2


@pytest.mark.parametrize("how", ["button", "escape"])
def test_closing_the_window_ends_it_for_the_run(screen, drawn, capsys, how):
    shown = Window("human", Scenes())
    shown.show(domain(), 0, POSES, PLAYED)
    event = (
        screen.event.Event(screen.QUIT)
        if how == "button"
        else screen.event.Event(screen.KEYDOWN, key=screen.K_ESCAPE)
    )
    screen.event.post(event)
    assert not shown.pump() and not shown.wanted
    before = len(drawn)
    shown.show(domain(), 0, POSES, PLAYED)
    assert len(drawn) == before
    assert capsys.readouterr().err == "window closed: the run goes on without it\n"
    shown.close()


def test_a_screen_that_cannot_be_opened_is_told_once(monkeypatch, capsys):
    monkeypatch.setenv("SDL_VIDEODRIVER", "nothing-of-the-kind")
    shown = Window("human", Scenes())
    for _ in range(2):
        shown.show(domain(), 0, POSES, PLAYED)
    told = capsys.readouterr().err
    assert told.startswith("no window: ") and told.count("\n") == 1


def test_without_the_parameter_nothing_is_imported(monkeypatch):
    monkeypatch.setattr(window, "_pygame", lambda: pytest.fail("pygame was asked for"))
    shown = Window("", Scenes())
    shown.show(domain(), 0, POSES, PLAYED)
    assert not shown.pump()
    shown.close()


def test_a_run_learns_the_same_with_a_window(screen, drawn, tmp_path):
    cfg = tiny("tdmpc", tasks=["room-1"])
    for name, render in (("plain", ""), ("shown", "human")):
        train(cfg, tmp_path / name, render=render, progress=False, tensorboard=False)
    assert drawn and len({caption.split()[0] for _, caption in drawn}) == 1
    lines = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("plain", "shown")]
    assert lines[0] == lines[1]
    assert np.ptp([grey for grey, _ in drawn]) >= 0
