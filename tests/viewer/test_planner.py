import io

import numpy as np
import pytest
import torch
from PIL import Image

from lib import viewer
from lib.algos.tdmpc.settings import PlannerConfig
from lib.core import planning
from lib.core.errors import UserError
from lib.core.spaces import ActionSpace
from lib.viewer.planner import Planning, Recorder

pytestmark = pytest.mark.usefixtures("figures")

STEPS, ITERATIONS, N, H, K = 2, 3, 11, 5, 4
CFG = PlannerConfig(samples=N, elites=K, iterations=ITERATIONS, mixture=0.0)
PUSH = ActionSpace(2, discrete=False)


def toward(z, actions):
    """How near the sum of all pushes comes to (1, 1)."""
    return -(z.unsqueeze(1) + actions.sum(2) - 1).square().sum(-1)


@pytest.fixture
def searched():
    """Two decisions of a search in the plane, where candidates led, and where it went."""
    tried, draws, place = Recorder(), torch.Generator().manual_seed(0), torch.zeros(1, 2)
    walked, paths = [place[0]], []
    for _ in range(STEPS):
        noise = planning.PlanNoise.draw(1, H, PUSH, CFG, draws)
        plan = planning.gaussian_plan(toward, place, noise, CFG, trace=tried, explore=False)
        moved = np.cumsum(tried.searches[-1].candidates, 2)  # (I, N, h, 2)
        paths.append(place.numpy() + np.concatenate((0 * moved[:, :, :1], moved), 2))
        place = place + plan.action
        walked.append(place[0])
    return tried.searches, paths, torch.stack(walked)


def test_a_recorder_keeps_every_iteration_of_every_search(searched):
    searches, _, _ = searched
    assert len(searches) == STEPS
    for search in searches:
        assert search.candidates.shape == (ITERATIONS, N, H, 2)
        assert search.scores.shape == (ITERATIONS, N) and search.elites.shape == (ITERATIONS, K)
        best = np.take_along_axis(search.scores, search.elites, 1)
        assert (best[:, 0] == search.scores.max(1)).all()  # the best first


def test_of_several_states_the_first_is_kept():
    tried = Recorder()
    tried(0, torch.arange(2.0).view(2, 1, 1, 1), torch.tensor([[5.0], [6.0]]), torch.zeros(2, 1))
    assert tried.searches[0].scores.tolist() == [[5.0]]


def test_each_step_and_iteration_is_a_picture_of_its_own(searched):
    view = Planning(*searched, marks={"G": (1, 1)}, title="A search")
    pictures = [view.picture(t, i) for t in range(STEPS) for i in range(ITERATIONS)]
    assert len(set(pictures)) == STEPS * ITERATIONS
    assert len({Image.open(io.BytesIO(picture)).size for picture in pictures}) == 1
    assert [dial.name for dial in view.dials] == ["step", "iteration"]
    said = view.caption(1, 2)
    assert said.startswith("step 1, iteration 3 of 3: 11 candidates score -") and "4 elites" in said


def test_scores_rise_and_the_page_shows_the_first_decision(searched):
    view = Planning(*searched)
    axes = view.static()
    assert len(axes) == ITERATIONS + 1
    assert axes[0].get_title() == "step 0, iteration 1"
    assert axes[-1].get_xlabel() == "iteration" and axes[-1].get_ylabel() == "score"
    means = searched[0][0].scores.mean(1)
    assert means[-1] > means[0]


def test_a_grid_is_drawn_behind_paths_on_it(searched):
    searches, paths, walked = searched
    cells = np.array([(x, y) for x in range(1, 8) for y in range(1, 8) if 4 not in (x, y)])
    view = Planning(searches, paths, walked, cells=cells)
    ax = view.static()[0]
    assert ax.get_xlim() == (-0.5, 8.5) and ax.get_ylim() == (8.5, -0.5) and ax.images


def test_what_does_not_fit_is_one_line(searched, capsys):
    searches, paths, walked = searched
    with pytest.raises(UserError, match="no search was recorded"):
        Planning([], [], walked)
    with pytest.raises(UserError, match="2 searches, 1 sets of paths and 3 positions"):
        Planning(searches, paths[:1], walked)
    with pytest.raises(UserError, match=r"paths \(3, 7, 6, 2\) do not fit scores \(3, 11\)"):
        Planning(searches, [path[:, :7] for path in paths], walked)
    assert viewer.planning([], [], walked) is None
    assert capsys.readouterr().out.startswith("Nothing to show: no search was recorded")
