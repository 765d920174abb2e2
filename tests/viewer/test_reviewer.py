import io

import numpy as np
import pytest
from PIL import Image

from lib import viewer
from lib.algos.api import ReviewRule
from lib.analysis.reviewer_reward import Review
from lib.core.errors import UserError
from lib.plotting import maps
from lib.plotting.charts import CYCLE
from lib.viewer.reviewer import KINDS, Reviewing

pytestmark = pytest.mark.usefixtures("figures")

CELLS = np.array([(x, y) for y in range(1, 8) for x in range(1, 8) if 4 not in (x, y)])
S = 4 * len(CELLS)
KNOWN, UNKNOWN = np.exp(-12.0), np.exp(-3.0)


def moment(name="room-2, at its end", forgotten=True, threshold=8.25, visits=True):
    """The old model knew the upper left room; the current one has forgotten it, or not."""
    first = np.repeat((CELLS < 4).all(1), 4)[:, None]
    old = np.where(first, KNOWN, UNKNOWN) * np.ones((S, 3))
    now = np.full((S, 3), UNKNOWN) if forgotten else old
    times = (CELLS[:, 0] == 1).astype(int) * 7
    seen = {"learner": np.ones(len(CELLS)), "reviewer": times} if visits else {}
    rule = ReviewRule(True, threshold, "squared", sharpness=4.0, cost=0.5, shape="code")
    return Review(name, CELLS, old, now, rule, visits=seen)


@pytest.fixture
def view():
    begins = moment("room-2, as it begins", forgotten=False, visits=False)
    return Reviewing([begins, moment()], marks={"S": (5, 3)}, title="A run")


def test_every_threshold_and_moment_is_a_picture_of_its_own(view):
    threshold, when = view.dials
    assert threshold.labels[0] == "3.0" and threshold.labels[-1] == "13.0"
    assert threshold.labels[view.start[0]] == "8.2"  # the run's own, between whole numbers
    assert when.labels == ("room-2, as it begins", "room-2, at its end") and when.start == 1
    pictures = [view.picture(*at) for at in ((0, 0), (5, 0), (0, 1), (11, 1))]
    assert len(set(pictures)) == len(pictures)
    assert len({Image.open(io.BytesIO(picture)).size for picture in pictures}) == 1
    assert view.draw(0, 0) == pictures[0]  # whatever was drawn before


def test_the_caption_counts_cells_that_pay_and_who_was_there(view):
    assert view.caption(*view.start) == (
        "room-2, at its end, threshold 8.2 (the run's own): 9 of 36 cells pay, "
        "3 of them visited by the reviewer"
    )
    assert view.caption(0, 0) == "room-2, as it begins, threshold 3.0: 36 of 36 cells pay"


def test_no_two_thresholds_are_called_the_same():
    labels = Reviewing([moment(threshold=8.04)]).dials[0].labels
    assert len(set(labels)) == len(labels) == 11 and "8.0" in labels


def test_a_threshold_beyond_every_score_pays_nothing():
    view = Reviewing([moment()], thresholds=[40.0])
    assert ": 0 of 36 cells pay" in view.caption(1, 0)


def test_the_page_shows_the_six_maps_and_other_thresholds(view):
    axes = view.static()
    titles = [ax.get_title() for ax in axes.ravel()]
    assert titles[0] == "gain: the old model knew it"
    assert titles[1:3] == ["cost: it is still known", "reward: gain - cost"]
    assert titles[3:5] == ["where the learner was", "where the reviewer was"]
    assert [title.split(" threshold ")[0] for title in titles[6:]] == ["reward at"] * 3
    (legend,) = axes[0, 0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(KINDS)
    kinds = axes[1, 2].images[-1].get_array()
    assert kinds[1, 1] == 3 and kinds[1, 2] == 1 and kinds[7, 1] == 2 and kinds[7, 7] == 0


def test_one_threshold_alone_has_a_page_too():
    assert Reviewing([moment()], thresholds=[8.25]).static().shape == (3, 3)


def test_the_widget_turns_both_dials(view):
    image, buttons, words = view.widget.children
    threshold, when = buttons.children[3], buttons.children[-1]
    assert (threshold.description, when.description) == ("threshold", "moment")
    when.value = 0
    threshold.value = 2
    assert image.value == view.picture(2, 0) and words.value == view.caption(2, 0)


def test_all_of_it_can_be_shown_without_a_kernel(view):
    film = view.film()
    assert len(film["pictures"]) == len(film["captions"]) == 12 * 2


def test_colours_are_those_of_all_figures():
    assert set(maps.KINDS[1:]) <= set(CYCLE)


def test_what_does_not_fit_is_one_line(capsys):
    with pytest.raises(UserError, match="no review was given"):
        Reviewing([])
    for wrong in ([], [np.nan]):
        with pytest.raises(UserError, match="give one number at least, all finite"):
            Reviewing([moment()], thresholds=wrong)
    assert viewer.review([]) is None
    said = capsys.readouterr().out
    assert said.startswith("Nothing to show: no review") and said.count("\n") == 1
    for wrong in (3, None, [3]):
        assert viewer.review(wrong) is None
        assert "give a run's folder, or a list" in capsys.readouterr().out
