import numpy as np
import pytest

from lib.analysis import first_task, results
from lib.envs.control.domain import ControlDomain
from lib.runner.training import train
from tests.dreamer_tiny import tiny as tiny_dreamer
from tests.tiny import control, tiny


class Sketch:
    """A scene that returns what it was asked to draw."""

    def frame(self, pose, ghost=None):
        return np.stack([pose, ghost])

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[results.Run]:
    folder = tmp_path_factory.mktemp("runs")
    for method in ("drago", "tdmpc"):
        train(control(method), folder / method, tensorboard=False, progress=False)
    return [results.load_run(folder / method) for method in ("drago", "tdmpc")]


def test_every_model_starts_from_the_same_real_moment(runs, monkeypatch):
    sketch = Sketch()
    monkeypatch.setattr(ControlDomain, "scene", lambda self, task: sketch)
    drawn, times = first_task.pictures(runs, decisions=4, count=3, share=0.3)
    assert times.tolist() == [8, 16, 24] and sketch.closed  # 0.3 * 7 decisions is 2, of 4 steps
    one, other = np.array(drawn)  # (count, real and ghost, Q) of each run
    np.testing.assert_array_equal(one[:, 0], other[:, 0])
    np.testing.assert_allclose(one[0, 0], one[0, 1], atol=1e-6)  # nothing is imagined yet
    assert (one[1:, 1] != other[1:, 1]).any(axis=1).all()
    np.testing.assert_array_equal(first_task.pictures(runs, 4, 3, 0.3)[0], drawn)


def test_the_agent_that_acts_had_just_learnt_the_first_task(runs):
    assert first_task.agent_after(runs[0], 0).task == 0
    domain, episode, poses = first_task.first_task(runs[0])
    assert domain.tasks[0].name == "cheetah-run" and len(poses) == 8
    assert episode.obs.shape == (1, 8, 17)


def test_imagination_never_runs_past_the_episode(runs, monkeypatch):
    monkeypatch.setattr(ControlDomain, "scene", lambda self, task: Sketch())
    _, times = first_task.pictures(runs, decisions=5, count=2, share=0.9)
    assert times.tolist() == [8, 28]
    _, times = first_task.pictures(runs, decisions=50, count=2)
    assert times.tolist() == [0, 28]


def test_missing_checkpoints_are_noticed(tmp_path):
    train(tiny("tdmpc"), tmp_path, tensorboard=False, progress=False)
    run = results.load_run(tmp_path)
    assert first_task.can_be_drawn(run)
    (tmp_path / "checkpoints" / "task-2.safetensors").unlink()
    assert not first_task.can_be_drawn(run)


def test_a_recurrent_world_model_is_not_asked_about_a_single_moment(tmp_path):
    train(tiny_dreamer(), tmp_path, tensorboard=False, progress=False)
    assert not first_task.can_be_drawn(results.load_run(tmp_path))
