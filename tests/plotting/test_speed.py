import numpy as np
import pytest

from lib.plotting import charts, speed

pytestmark = pytest.mark.usefixtures("figures")


def texts(ax):
    return [text.get_text().strip() for text in ax.texts]


def test_a_ratio_below_one_points_left_in_another_colour():
    ax = speed.ratio_bars(["gain", "loss", "much"], [3.0, 0.5, 1234.0], "machine")
    gain, loss, _ = ax.patches
    assert gain.get_width() == 2.0 and loss.get_width() == -0.5
    assert gain.get_facecolor() != loss.get_facecolor()
    assert texts(ax) == ["3.0", "0.5", "1,234"]
    assert ax.get_xscale() == "log" and ax.get_xlim()[0] < 0.5


def test_names_read_from_top_to_bottom():
    ax = speed.pair_bars(["first", "second"], {"plain": [1.0, 2.0], "fast": [0.1, 0.2]})
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    assert ax.yaxis_inverted()
    assert ax.get_legend_handles_labels()[1] == ["plain", "fast"]


def test_a_missing_number_leaves_a_gap_and_an_aim_is_marked():
    ax = speed.pair_bars(["x"], {"plain": [np.nan], "fast": [5.0]}, aims={0: 15.0})
    assert texts(ax) == ["5"]
    assert "asked for" in ax.get_legend_handles_labels()[1]
    assert ax.get_xlim()[1] > 15


def test_bars_without_any_number_are_still_drawn():
    ax = speed.pair_bars(["x"], {"fast": [np.nan]})
    ax.figure.canvas.draw()
    assert texts(ax) == []


def test_growth_has_a_tick_for_every_value_measured():
    lines = {"plain": ([1, 4, 16], [1.0, 4.0, 16.0]), "fast": ([1, 4, 16], [1.0, 1.1, np.nan])}
    ax = speed.growth_curves(lines, "E")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "4", "16"]
    assert [line.get_color() for line in ax.lines] == [charts.GREY, charts.BLUE]
    low, high = ax.get_ylim()
    assert high / low >= 10
