"""Videos beside a run: which evaluations are filmed, and what happens where nobody can draw."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib import video
from lib.errors import UserError
from lib.runner.film import Film

T = 3


class Flat:
    """Draws a pose as one grey."""

    open = 0

    def __init__(self):
        Flat.open += 1

    def frame(self, pose, ghost=None):
        return np.full((4, 6, 3), int(pose[0]), np.uint8)

    def close(self):
        Flat.open -= 1


def domain(scene=Flat):
    tasks = (SimpleNamespace(name="first"), SimpleNamespace(name="second"))
    return SimpleNamespace(tasks=tasks, action_repeat=2, scene=lambda index: scene())


POSES = [np.array([k]) for k in range(T + 1)]
REWARD = np.arange(T, dtype=np.float32)


@pytest.fixture
def written(monkeypatch) -> list:
    """What would have been written."""
    Flat.open, calls = 0, []

    def write(path, frames, fps=15, captions=None):
        calls.append((path.name, [int(f[0, 0, 0]) for f in frames], list(captions)))

    monkeypatch.setattr(video, "write_mp4", write)
    return calls


@pytest.mark.parametrize(("when", "wanted"), [("", (0, 0)), ("final", (0, 1)), ("every", (1, 1))])
def test_what_is_filmed_is_chosen(tmp_path, when, wanted):
    film = Film(tmp_path, when)
    assert (film.wanted(final=False), film.wanted(final=True)) == wanted


def test_every_pose_becomes_a_frame_under_a_caption(tmp_path, written):
    film = Film(tmp_path, "every")
    film.shoot(domain(), 1, "label", POSES, REWARD)
    ((name, greys, captions),) = written
    assert name == "label.mp4" and greys == [0, 1, 2, 3] and len(captions) == T + 1
    assert "second" in captions[-1] and "3.0" in captions[-1]  # 0 + 1 + 2
    assert "6" in captions[-1]  # env steps: three decisions of two


def test_one_renderer_serves_a_task_and_is_given_back(tmp_path, written):
    film, world = Film(tmp_path, "every"), domain()
    for task in (0, 0, 1):
        film.shoot(world, task, "label", POSES, REWARD)
        assert Flat.open == 1
    film.close()
    film.close()
    assert Flat.open == 0 and len(written) == 3


def test_a_machine_that_cannot_draw_says_so_once_and_goes_on(tmp_path, written, capsys):
    def no_scene():
        raise UserError("no OpenGL here; install it")

    film = Film(tmp_path, "every")
    film.shoot(domain(no_scene), 0, "label", POSES, REWARD)
    assert capsys.readouterr().err == "no videos: no OpenGL here; install it\n"
    assert not film.wanted(final=True) and not written
