import base64
import io
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from lib import viewer
from lib.core.errors import UserError
from lib.core.kernel import FILMS, UNATTENDED
from lib.viewer import Scrubber, scrub

T = 5
FRAMES = np.arange(T, dtype=np.uint8)[:, None, None, None] * np.full((7, 11, 3), 50, np.uint8)
REWARD = np.array([0.0, 0.5, np.nan, 0.25, 1.0])


pytestmark = pytest.mark.usefixtures("figures")


@pytest.fixture
def film():
    return Scrubber(
        {"real": FRAMES, "imagined": FRAMES},
        {"reward": REWARD, "value": np.ones(T)},
        ["left", "right", "left", "forward", "forward"],
        title="A film",
    )


def parts(film):
    """The controls by what they are."""
    image, buttons, words = film.widget.children
    play, back, forth, slider, speed = buttons.children
    return {
        "image": image,
        "words": words,
        "play": play,
        "back": back,
        "forward": forth,
        "slider": slider,
        "speed": speed,
    }


# What is drawn ------------------------------------------------------------------------------


def test_every_picture_is_drawn_once_and_differs(film):
    stills = [film.picture(t) for t in range(T)]
    assert film.picture(3) is stills[3] and len(set(stills)) == T
    assert film.draw(3) == stills[3]  # whatever was drawn before
    sizes = {Image.open(io.BytesIO(still)).size for still in stills}
    assert len(sizes) == 1
    assert not plt.get_fignums()  # preparing leaves no figure behind


def test_a_film_alone_needs_neither_names_nor_series():
    film = Scrubber(FRAMES / 255.0)
    assert np.array_equal(film.films[""], FRAMES)
    assert len(film.dials[0]) == T and film.caption(2) == "step 2"


def test_the_caption_says_in_words_what_is_shown(film):
    assert film.caption(1) == "step 1, right, reward 0.5, value 1"
    assert film.caption(2) == "step 2, left, value 1"  # a gap is nothing to say


def test_one_picture_is_a_film_too():
    film = Scrubber(FRAMES[:1], {"reward": [1.0]})
    assert film.picture(0) and not film.widget.children[1].children


def test_the_still_figure_shows_every_film_and_every_series(film):
    film.shown = 3
    axes = film.static()
    assert len(axes) == 4 and len(plt.get_fignums()) == 1
    assert [ax.get_ylabel() for ax in axes[:2]] == ["real", "imagined"]
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["0", "2", "4"]
    assert [ax.get_title("left") for ax in axes[2:]] == ["reward", "value"]


# Controls -----------------------------------------------------------------------------------


def test_the_slider_moves_picture_and_words(film):
    found = parts(film)
    found["slider"].value = 3
    assert found["image"].value == film.picture(3)
    assert found["words"].value == film.caption(3)


def test_steps_stop_at_both_ends(film):
    found = parts(film)
    found["back"].click()
    assert found["slider"].value == 0
    for _ in range(T + 2):
        found["forward"].click()
    assert found["slider"].value == T - 1 and found["image"].value == film.picture(T - 1)


def test_the_speed_changes_how_long_a_picture_stays(film):
    found = parts(film)
    for name, milliseconds in viewer.SPEEDS.items():
        found["speed"].value = name
        assert found["play"].interval == milliseconds


def test_every_control_says_what_it_does(film):
    found = parts(film)
    assert found["slider"].description == "step" and found["speed"].description == "speed"
    assert (found["back"].description, found["forward"].description) == ("back", "forward")
    assert found["play"].tooltip


@pytest.fixture
def displayed(monkeypatch):
    """What is sent to the page: data and metadata."""
    sent = []

    def display(data, metadata, raw):
        assert raw
        sent.append((data, metadata))

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.delenv(UNATTENDED, raising=False)
    monkeypatch.delenv(FILMS, raising=False)
    return sent


WIDGET = "application/vnd.jupyter.widget-view+json"


def test_a_live_notebook_gets_the_controls_and_what_shows_none_a_still(film, displayed):
    film._ipython_display_()
    ((data, metadata),) = displayed
    assert {WIDGET, "image/png", "text/plain"} == set(data) and not metadata
    assert not plt.get_fignums()


def test_an_unattended_notebook_gets_the_still_and_a_site_the_film(
    film, displayed, monkeypatch, tmp_path
):
    monkeypatch.setenv(UNATTENDED, "1")
    film._ipython_display_()
    monkeypatch.setenv(FILMS, str(tmp_path))
    film._ipython_display_()
    (data, plain), (same, metadata) = displayed
    assert {"image/png", "text/plain"} == set(data) and not plain and same == data
    kept = json.loads((tmp_path / f"{metadata['workbook']['film']}.json").read_text())
    assert kept == film.film()
    for t, text in enumerate(kept["pictures"]):
        small, whole = base64.b64decode(text), film.picture(t)
        assert len(small) < len(whole)
        seen, drawn = (np.asarray(Image.open(io.BytesIO(x)).convert("RGB")) for x in (small, whole))
        assert np.abs(seen.astype(int) - drawn).mean() < 2
    assert kept["captions"][1] == film.caption(1)
    assert kept["dials"] == [{"name": "step", "labels": list("01234"), "start": 0}]


# Mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "series", "captions", "said"),
    [
        ({}, None, (), "no pictures were given"),
        (FRAMES[0], None, (), r"the film has shape \(7, 11, 3\); pictures are \(T, height"),
        (FRAMES[:0], None, (), "at least one"),
        ({"a": FRAMES.astype(int)}, None, (), "film 'a' holds int64 .*uint8, or floats"),
        (2.0 * FRAMES, None, (), "floats between 0 and 1"),
        ({"a": FRAMES, "b": FRAMES[:2]}, None, (), "'b' has length 2 and the film 5 pictures"),
        (FRAMES, {"reward": [1.0]}, (), "'reward' has length 1 and the film 5"),
        (FRAMES, {"reward": np.ones((T, 2))}, (), "one number a picture"),
        (FRAMES, {"reward": ["much"] * T}, (), "give a row of numbers"),
        (FRAMES, None, ["left"], "'captions' has length 1"),
        (np.zeros((601, 1, 1, 3), np.uint8), None, (), r"one in 2, film\[::2\]"),
    ],
)
def test_what_does_not_fit_is_one_line(frames, series, captions, said, capsys):
    with pytest.raises(UserError, match=said):
        Scrubber(frames, series, captions)
    assert scrub(frames, series, captions) is None
    printed = capsys.readouterr().out
    assert printed.startswith("Nothing to show: ") and printed.count("\n") == 1
