import numpy as np
import pytest

from lib import viewer
from lib.runner.training import train
from lib.viewer.planner import Planning
from tests.dreamer_tiny import tiny as tiny_dreamer
from tests.tiny import control, tiny

pytestmark = pytest.mark.usefixtures("figures")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "grid"
    train(tiny("tdmpc"), folder, tensorboard=False, progress=False)
    return folder


def test_a_runs_agent_is_watched_while_it_searches(grid):
    view = viewer.plans(grid, steps=3)
    assert isinstance(view, Planning) and len(view.dials[0]) == 3
    search, paths = view.searches[0], view.paths[0]
    iterations, count, horizon, _ = search.candidates.shape
    assert paths.shape == (iterations, count, horizon + 1, 2)
    assert np.allclose(paths[:, :, 0], view.walked[0])  # every path begins where the agent is
    assert view.picture(0, 0) != view.picture(2, iterations - 1)


def test_the_same_seed_is_the_same_episode(grid):
    one, other = (viewer.plans(grid, seed=3, steps=2) for _ in range(2))
    assert np.array_equal(one.walked, other.walked)
    assert np.array_equal(one.searches[1].scores, other.searches[1].scores)


def test_of_a_body_the_expected_return_is_drawn(tmp_path):
    train(control("tdmpc"), tmp_path / "run", tensorboard=False, progress=False)
    view = viewer.plans(tmp_path / "run", steps=2)
    assert view.labels == ("decision", "return so far, and expected")
    assert (view.paths[1][..., 0, 0] == 1).all()  # decisions go on from where it is
    assert np.allclose(view.paths[1][..., 0, 1], view.walked[1, 1])


def test_a_folder_without_such_an_agent_is_one_line(tmp_path, grid, capsys):
    train(tiny_dreamer(), tmp_path / "dreamer", tensorboard=False, progress=False)
    (tmp_path / "empty").mkdir()
    for folder, task, says in (
        (tmp_path / "empty", "", "no checkpoint in"),
        (tmp_path / "nowhere", "", "nowhere"),
        (grid, "room-9", "no agent that learnt 'room-9'"),
        (tmp_path / "dreamer", "", "searches nothing"),
    ):
        assert viewer.plans(folder, task) is None
        said = capsys.readouterr().out
        assert said.startswith("Nothing to show: ") and said.count("\n") == 1 and says in said
