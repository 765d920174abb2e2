import pytest

from lib.plotting import intervals

pytestmark = pytest.mark.usefixtures("figures")


def test_rows_stand_in_order_with_seeds_an_interval_and_others_below():
    values = {"first": [1.0, 2.0, 6.0], "second": [4.0, 5.0]}
    ax = intervals.interval_rows(values, others={"theirs": 7.0})
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second", "theirs"]
    assert ax.yaxis_inverted()
    lines = [(line.get_xdata().tolist(), set(line.get_ydata())) for line in ax.lines[:4]]
    assert lines[0] == ([1.0, 2.0, 6.0], {0})
    assert lines[1] == ([1.0, 6.0], {0})  # with three seeds the interval is their range
    assert lines[2][0] == [3.0]
    assert lines[3] == ([4.0, 5.0], {1})  # two seeds have no interval
    assert len(ax.lines) == 6 and ax.lines[5].get_xdata().tolist() == [7.0]


def test_names_may_be_left_to_the_axes_beside():
    ax = intervals.interval_rows({"first": [1.0]}, names=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == [""]
