import numpy as np
import pytest

from lib.plotting import maps
from tests.synthetic import grid_cells, room_of

CELLS = grid_cells(9)
STATES = len(CELLS) * 4


pytestmark = pytest.mark.usefixtures("figures")


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_per_cell_averages_headings_and_actions():
    # two cells, four headings, three actions: the first cell holds 0..11, the second 12..23
    assert maps.per_cell(np.arange(24).reshape(8, 3)).tolist() == [5.5, 17.5]


def test_the_background_tells_walls_from_blocks():
    kind = maps.grid_background(CELLS).images[0].get_array()
    assert kind.shape == (9, 9)
    assert kind[0, 3] == kind[2, 4] == 1  # border and middle line
    assert kind[4, 4] == kind[3, 4] == 0  # the opening
    assert kind[2, 2] == 2  # a block (9 // 4, 9 // 4)


def test_a_grid_map_puts_x_to_the_right_and_y_down():
    values = CELLS[:, 0] + 100.0 * CELLS[:, 1]
    ax = maps.grid_map(CELLS, values, "number")
    picture = ax.images[-1].get_array()
    assert picture[1, 3] == 103.0
    assert np.ma.is_masked(picture[0, 0])


def test_boundary_maps_share_one_scale():
    values = [np.full((STATES, 3), 1e-4), np.full((STATES, 3), 1e-2)]
    axes = maps.boundary_maps(CELLS, values, ["a", "b"], "error", log=True)
    scales = {(ax.images[-1].norm.vmin, ax.images[-1].norm.vmax) for ax in axes}
    assert len(scales) == 1
    assert scales.pop() == pytest.approx((1e-4, 1e-2))


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_boundary_maps_survive_constant_zero_and_missing_values(value):
    axes = maps.boundary_maps(CELLS, [np.full((STATES, 3), value)], ["only"], "error", log=True)
    axes[0].figure.canvas.draw()


def test_coverage_tells_met_from_dreamt():
    room = np.repeat(room_of(CELLS, 9), 4)[:, None].repeat(3, 1)
    ax = maps.coverage_map(CELLS, room <= 1, (room == 1) | (room == 2))
    picture = ax.images[-1].get_array()
    assert [picture[1, 1], picture[1, 7], picture[7, 1], picture[7, 7]] == [1, 3, 2, 0]
    assert len(ax.get_legend().get_texts()) == 4


def test_the_reward_map_is_white_at_zero():
    ax = maps.reward_map(CELLS, np.zeros((STATES, 3)))
    assert (ax.images[-1].norm.vmin, ax.images[-1].norm.vmax) == (-1, 1)


def test_trajectories_name_each_kind_once_and_stay_in_the_frame():
    path = np.array([[1, 1], [2, 1], [30, 1]])
    ax = maps.trajectories(CELLS, [path, path], [path + 0.2], marks={"S": (1, 1)})
    assert labels(ax) == ["real", "imagined"]
    assert ax.get_xlim() == (-0.5, 8.5) and ax.get_ylim() == (8.5, -0.5)


def test_positions_undo_the_observation():
    # x = 3 and y = 7 on a grid of 9: 2 * 3 / 9 - 1 and 2 * 7 / 9 - 1
    assert maps.positions([2 * 3 / 9 - 1, 2 * 7 / 9 - 1, 0.5], 9) == pytest.approx([3.0, 7.0])


def test_plans_show_the_worst_heading_and_frame_phantoms():
    excess = np.full(STATES, np.nan)
    excess[:4], excess[4:8] = [1, 5, 2, 0], [0.5, 0.5, np.nan, 0.5]
    phantom = np.zeros(STATES, bool)
    phantom[1] = phantom[-1] = True  # the last one where excess is not known
    ax = maps.plans_map(CELLS, excess, phantom)
    picture = ax.images[-1].get_array()
    (x, y), (u, v) = CELLS[:2]
    assert picture[y, x] == 5 and picture[v, u] == 0.5
    assert np.ma.is_masked(picture[CELLS[5][1], CELLS[5][0]])
    framed = [p for p in ax.patches if not p.get_fill()]
    assert [(p.get_x() + 0.45, p.get_y() + 0.45) for p in framed] == [(x, y)]
