"""Videos beside a run: which evaluations are filmed, and what happens where nobody can draw."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.core.errors import UserError
from lib.core.storage import StorageError
from lib.plotting import video
from lib.replay.buffer import Episodes
from lib.runner import film
from lib.runner.film import Film

T = 3


class FlatLayout:
    """Draws a pose as one grey."""

    open = 0

    def __init__(self):
        FlatLayout.open += 1

    def frame(self, pose, ghost=None):
        return np.full((4, 6, 3), int(pose[0] if ghost is None else ghost[0]), np.uint8)

    def close(self):
        FlatLayout.open -= 1


def domain(scene=FlatLayout):
    tasks = (SimpleNamespace(name="first"), SimpleNamespace(name="second"))
    world = SimpleNamespace(tasks=tasks, action_repeat=2, scene=lambda index: scene())
    world.pose_of = lambda obs, first: obs.numpy()
    return world


def predict(obs, action):
    """Believes that everything moves on by ten."""
    return obs + 10


POSES = [np.array([k]) for k in range(T + 1)]
OBS = torch.arange(T + 1.0).view(1, T + 1, 1)
PLAYED = Episodes(OBS, torch.zeros(1, T, 1), torch.arange(float(T)).view(1, T))


@pytest.fixture
def written(monkeypatch) -> list:
    """What would have been written."""
    FlatLayout.open, calls = 0, []

    def write(path, frames, fps=15, captions=None):
        calls.append((path.name, [int(f[0, 0, 0]) for f in frames], list(captions)))

    monkeypatch.setattr(video, "write_mp4", write)
    return calls


@pytest.mark.parametrize(("when", "wanted"), [("", (0, 0)), ("final", (0, 1)), ("every", (1, 1))])
def test_what_is_filmed_is_chosen(tmp_path, when, wanted):
    roll = Film(when)
    assert (roll.wanted(final=False), roll.wanted(final=True)) == wanted


def test_every_pose_becomes_a_frame_under_a_caption(tmp_path, written):
    roll = Film("every")
    roll.shoot(tmp_path, domain(), 1, "label", POSES, PLAYED, predict)
    name, greys, captions = written[0]
    assert name == "label.mp4" and greys == [0, 1, 2, 3] and len(captions) == T + 1
    assert "second" in captions[-1] and "3.0" in captions[-1]  # 0 + 1 + 2
    assert "6" in captions[-1]  # env steps: three decisions of two


def test_the_ghost_starts_from_the_truth_again_and_again(tmp_path, written, monkeypatch):
    monkeypatch.setattr(film, "SEGMENT", 2)
    Film("every").shoot(tmp_path, domain(), 0, "label", POSES, PLAYED, predict)
    name, greys, captions = written[1]
    # 0 -> 10 -> 20, and from the real 2 again -> 12
    assert name == "label-imagined.mp4" and greys == [0, 10, 20, 12]
    assert all("imagined" in caption for caption in captions)


def test_one_renderer_serves_a_task_and_is_given_back(tmp_path, written):
    roll, world = Film("every"), domain()
    for task in (0, 0, 1):
        roll.shoot(tmp_path, world, task, "label", POSES, PLAYED, predict)
        assert FlatLayout.open == 1
    roll.close()
    roll.close()
    assert FlatLayout.open == 0 and len(written) == 6


def test_a_machine_that_cannot_draw_says_so_once_and_goes_on(tmp_path, written, capsys):
    def no_scene():
        raise UserError("no OpenGL here; install it")

    roll = Film("every")
    roll.shoot(tmp_path, domain(no_scene), 0, "label", POSES, PLAYED, predict)
    assert capsys.readouterr().err == "no videos: no OpenGL here; install it\n"
    assert not roll.wanted(final=True) and not written


def test_a_full_disk_stops_the_run_which_films_again_when_it_goes_on(monkeypatch, tmp_path):
    def full(path, *_, **__):
        raise StorageError("disk full")

    monkeypatch.setattr(video, "write_mp4", full)
    filming = Film("final")
    with pytest.raises(StorageError, match="disk full"):
        filming.shoot(tmp_path, domain(), 0, "a", POSES, PLAYED, predict)
    assert filming.wanted(True)
