import numpy as np
import pytest
import torch

from lib import viewer
from lib.errors import UserError
from lib.runner.loop import train
from lib.viewer import rollouts
from tests.dreamer_tiny import tiny as tiny_dreamer
from tests.tiny import control, tiny

pytestmark = pytest.mark.usefixtures("figures")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "grid"
    train(tiny("tdmpc"), folder, tensorboard=False, progress=False)
    return folder


def test_an_episode_is_shown_real_beside_imagined_with_numbers_below(grid):
    film = viewer.rollout(grid)
    real, imagined = film.films.values()
    steps = len(real) - 1
    assert list(film.films) == ["real", "imagined, in blue"] and len(imagined) == steps + 1
    reward, value, error = film.series.values()
    assert np.isnan(reward[0]) and np.isnan(value[-1])  # nothing earned yet; nothing more to come
    assert error[0] == 0 and np.isfinite(error).all()  # it begins with what is real
    assert film.captions[0] == "" and film.captions[1] in ("turn left", "turn right", "forward")


def test_the_same_seed_is_the_same_episode(grid):
    one, other = (viewer.rollout(grid, seed=5) for _ in range(2))
    assert np.array_equal(one.films["real"], other.films["real"])


def test_what_is_imagined_starts_anew_from_what_is_real():
    class Agent:
        @staticmethod
        def dynamics(obs, action):
            return obs + 1  # a model that always adds one

    obs = torch.arange(6.0)[:, None] * 10  # really it is ten
    found = rollouts.imagined(Agent, obs, torch.zeros(5, 1), every=2)[:, 0]
    # 0, 1, 2 | from 20: 21, 22 | from 40: 41
    assert found.tolist() == [0, 1, 2, 21, 22, 41]


def test_a_body_that_cannot_be_drawn_is_shown_as_colours(tmp_path, monkeypatch, capsys):
    train(control("tdmpc"), tmp_path / "run", tensorboard=False, progress=False)

    def refuse(*_):
        raise UserError("no OpenGL")

    monkeypatch.setattr("lib.envs.control.domain.ControlDomain.scene", refuse)
    film = viewer.rollout(tmp_path / "run")
    assert capsys.readouterr().out.count("\n") == 1
    real = film.films["real"]
    assert real.dtype == np.uint8 and real.shape[1] == rollouts.BAR[0] * 17  # the cheetah's numbers
    assert (real[0] == film.films["imagined"][0]).all()


def test_a_folder_without_such_an_agent_is_one_line(tmp_path, grid, capsys):
    train(tiny_dreamer(), tmp_path / "dreamer", tensorboard=False, progress=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.safetensors").write_bytes(b"no checkpoint")
    for folder, task, says in (
        (tmp_path / "empty", "", "no checkpoint in"),
        (tmp_path / "other.safetensors", "", "other.safetensors"),
        (grid, "room-9", "no agent that learnt 'room-9'"),
        (tmp_path / "dreamer", "", "chapter 03"),
    ):
        assert viewer.rollout(folder, task) is None
        said = capsys.readouterr().out
        assert said.startswith("Nothing to show: ") and said.count("\n") == 1 and says in said
