import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from lib.core.errors import UserError
from lib.core.paths import ROOT
from lib.envs import gl
from lib.envs.pixels import processes
from lib.envs.pixels.processes import InProcess, Pool, Processes, ProcessesEnded
from tests.envs.pixels.conftest import plan


@pytest.fixture
def without_gl(monkeypatch):
    """Nothing is looked for: what is started here draws nothing."""
    monkeypatch.setattr(gl, "choose_gl", lambda: "egl")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import time; time.sleep(600)", "gave no answer within 2 s"),
        ("raise SystemExit(3)", "ended with status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with SIGSEGV"),
    ],
)
def test_a_process_that_hangs_or_ends_before_its_first_picture_is_told_of(
    without_gl, monkeypatch, program, reason
):
    monkeypatch.setattr(processes, "PROGRAM", program)
    with pytest.raises(ProcessesEnded, match=reason):
        Processes(plan(), 2, patience=2 if "sleep" in program else 300)


def test_one_process_then_draws_alone_and_says_so(without_gl, monkeypatch, capsys):
    def fails(plan, count):
        raise ProcessesEnded("gave no answer within 60 s")

    monkeypatch.setattr(processes, "Processes", fails)
    monkeypatch.setattr(processes, "InProcess", lambda plan: "alone")
    pool = Pool()
    assert pool.take(plan(), copies=4, workers=3) == "alone"
    told = capsys.readouterr().err
    assert "walker_run: one of 3 processes that draw gave no answer" in told
    assert told.count("\n") == 1 and "env.workers=1" in told
    assert pool.take(plan(), copies=4, workers=3) == "alone"
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("copies", "workers", "count"),
    [(1, 4, 1), (8, 4, 4), (3, 4, 3), (8, 0, 5), (2, 0, 2), (8, 1, 1)],
)
def test_there_are_no_more_processes_than_copies_and_idle_cores(
    without_gl, monkeypatch, copies, workers, count
):
    monkeypatch.setattr(processes, "cores", lambda: 6)
    monkeypatch.setattr(processes, "Processes", lambda plan, count: count)
    monkeypatch.setattr(processes, "InProcess", lambda plan: 1)
    assert Pool().take(plan(), copies, workers) == count


def test_only_a_few_idle_crews_are_kept_and_none_that_has_ended(without_gl):
    class Idle:
        def __init__(self, name: str, usable: bool = True):
            self.plan, self.count, self.usable, self.closed = plan(name), 1, usable, False

        def close(self):
            self.closed = True

    pool = Pool()
    first, second, third = (Idle(name) for name in ("walker_run", "walker_walk", "cup_catch"))
    for backend in (Idle("cup_catch", usable=False), first, second, third):
        pool.give(backend)
    assert first.closed and not second.closed and not third.closed
    assert pool.take(plan("walker_walk"), copies=1, workers=0) is second
    pool.close()
    assert third.closed and not second.closed


def test_where_nothing_can_draw_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setenv(gl.CHOICE, "")
    monkeypatch.setattr(gl, "fault", lambda name: "broken")
    for workers in (1, 2):
        with pytest.raises(UserError, match="apt-get install libegl1") as said:
            Pool().take(plan(), copies=2, workers=workers)
        assert "\n" not in str(said.value)


def test_a_mistake_of_the_users_is_told_in_its_own_words(dm_control, tmp_path):
    for wrong, message in (
        (plan(camera=7), "env.camera 7: this body has cameras 0 to 1"),
        (plan(background=f"folder:{tmp_path}"), "holds no videos"),
    ):
        for make in (InProcess, lambda wrong: Processes(wrong, 2)):
            with pytest.raises(UserError, match=message):
                make(wrong)


def test_processes_outlive_ctrl_c_and_say_how_they_ended(dm_control):
    backend = Processes(plan(), 2)
    for process in backend._processes:
        process.send_signal(signal.SIGINT)
    first, second = backend.run([("begin", 0, 5), ("begin", 1, 6)])
    assert first.picture.shape == (24, 24, 3) and not np.array_equal(first.picture, second.picture)
    backend._processes[1].kill()
    with pytest.raises(ProcessesEnded, match="ended with SIGKILL"):
        backend.run([("step", 1, np.zeros(6, np.float32))])
    assert not backend.usable
    backend.close()


def test_a_call_that_fails_is_told_in_one_line(dm_control):
    backend = Processes(plan(), 1)
    with pytest.raises(
        ProcessesEnded, match="failed: ValueError: state .* of another task"
    ) as said:
        backend.run([("restore", 0, 0, np.zeros(3), 0)])
    assert "\n" not in str(said.value)


def test_processes_import_no_pytorch_and_end_with_python_without_a_word(dm_control):
    program = (
        "import sys\n"
        "from lib.envs.pixels.processes import Processes\n"
        "from tests.envs.pixels.conftest import plan\n"
        "backend = Processes(plan(), 2)\n"
        "print(len(backend.run([('begin', 0, 1), ('begin', 1, 1)])), 'torch' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=600,
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "2 False\n")
