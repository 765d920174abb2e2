import importlib.util
import os
import sys
from types import SimpleNamespace

import pytest

from lib.core.errors import UserError
from lib.envs import gl


@pytest.fixture(autouse=True)
def a_fresh_start(monkeypatch):
    """Mujoco present, no choice made, and both variables as before afterwards."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(gl.platform, "system", lambda: "Linux")
    for variable in (gl.CHOICE, gl.DRIVER):
        monkeypatch.setenv(variable, "")
    monkeypatch.delenv(gl.DRIVER)


def works(monkeypatch, *names: str) -> list[str]:
    """Replaces the trial: only these kinds draw. Returns what is tried, in order."""
    tried = []

    def fault(name: str) -> str:
        tried.append(name)
        return "" if name in names else "broken"

    monkeypatch.setattr(gl, "fault", fault)
    return tried


def test_egl_is_preferred_and_written_down_for_what_is_imported_later(monkeypatch):
    tried = works(monkeypatch, "egl", "osmesa")
    assert gl.choose_gl() == "egl"
    assert tried == ["egl"]
    assert os.environ[gl.CHOICE] == os.environ[gl.DRIVER] == "egl"


def test_osmesa_takes_the_place_of_a_broken_egl(monkeypatch):
    tried = works(monkeypatch, "osmesa")
    assert gl.choose_gl() == "osmesa"
    assert tried == ["egl", "osmesa"]
    assert os.environ[gl.CHOICE] == "osmesa"


def test_where_nothing_draws_the_message_says_why_and_what_to_install(monkeypatch):
    works(monkeypatch)
    with pytest.raises(UserError) as caught:
        gl.choose_gl()
    message = str(caught.value)
    assert "egl: broken; osmesa: broken" in message
    assert message.endswith("apt-get install libegl1 libgl1-mesa-dri libosmesa6")
    assert "\n" not in message
    assert os.environ[gl.CHOICE] == "" and gl.DRIVER not in os.environ


@pytest.mark.parametrize("choice", ["osmesa", "glfw", " EGL "])
def test_the_users_choice_is_the_only_one_tried_and_stays_as_it_is(monkeypatch, choice):
    monkeypatch.setenv(gl.CHOICE, choice)
    tried = works(monkeypatch, "egl", "osmesa", "glfw")
    assert gl.choose_gl() == choice.strip().lower()
    assert tried == [choice.strip().lower()]
    assert os.environ[gl.CHOICE] == choice and gl.DRIVER not in os.environ


def test_a_choice_that_does_not_work_is_not_replaced_by_another(monkeypatch):
    monkeypatch.setenv(gl.CHOICE, "osmesa")
    works(monkeypatch, "egl")
    with pytest.raises(UserError, match=r"\(osmesa: broken\).*or unset MUJOCO_GL"):
        gl.choose_gl()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("elg", "unknown MUJOCO_GL 'elg'; known: egl, glfw, osmesa .*did you mean 'egl'"),
        ("off", "drawing is switched off by MUJOCO_GL=off"),
        ("0", "drawing is switched off by MUJOCO_GL=0"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(monkeypatch, choice, message):
    monkeypatch.setenv(gl.CHOICE, choice)
    works(monkeypatch, "egl")
    with pytest.raises(UserError, match=message):
        gl.choose_gl()


def test_a_mac_draws_with_its_own_and_says_nothing_to_dm_control(monkeypatch):
    monkeypatch.setattr(gl.platform, "system", lambda: "Darwin")
    works(monkeypatch, "cgl")
    assert gl.choose_gl() == "cgl"
    assert os.environ[gl.CHOICE] == ""


def test_a_missing_simulator_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs mujoco.*pip install mujoco=="):
        gl.choose_gl()


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("", ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with SIGSEGV"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
        ("print('no display. And more.'); raise SystemExit(1)", "no display"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
)
def test_a_driver_that_crashes_or_hangs_takes_nothing_down(monkeypatch, probe, reason):
    monkeypatch.setattr(gl, "PROBE", probe)
    monkeypatch.setattr(gl, "PATIENCE", 1 if "sleep" in probe else 60)
    assert gl.fault.__wrapped__("egl") == reason


def test_the_trial_says_in_one_line_what_went_wrong():
    said = gl.fault.__wrapped__("nothing")  # MuJoCo refuses the name, or is not there
    assert said.split(":")[0] in ("RuntimeError", "ModuleNotFoundError") and "\n" not in said


def test_an_opengl_imported_for_another_use_is_refused_before_it_misleads(monkeypatch):
    works(monkeypatch, "egl")
    window = SimpleNamespace(PLATFORM=type("GLXPlatform", (), {})())
    monkeypatch.setitem(sys.modules, "OpenGL.platform", window)
    with pytest.raises(UserError, match=r"another use than egl; start again with PYOPENGL_PLATF"):
        gl.open_renderer(None, 16, 16)


def test_what_is_gone_is_not_closed_at_exit(monkeypatch):
    class Thing:
        closed = 0

        def close(self):
            Thing.closed += 1

    waiting = []
    monkeypatch.setattr(gl.atexit, "register", lambda *call: waiting.append(call))
    kept, gone = Thing(), Thing()
    gl.close_at_exit(kept)
    gl.close_at_exit(gone)
    del gone
    for function, *arguments in waiting:
        function(*arguments)
    assert Thing.closed == 1
