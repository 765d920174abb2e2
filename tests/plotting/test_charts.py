import errno

import numpy as np
import pytest

from lib.core.errors import UserError
from lib.plotting import charts
from tests.synthetic import TASKS

pytestmark = pytest.mark.usefixtures("figures")


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_every_method_has_its_own_look():
    looks = [tuple(charts.style(name).values()) for name in charts.METHOD_STYLE]
    assert len(set(looks)) == len(looks)


def test_learning_curves_show_the_optimum_and_a_band_from_three_seeds():
    steps = np.arange(5) * 100
    many, few = np.random.default_rng(0).random((3, 5)), np.ones((2, 5))
    ax = charts.learning_curves({"drago": (steps, many), "tdmpc": (steps, few)}, optimum=2.0)
    assert labels(ax) == ["drago", "tdmpc", "exact optimum"]
    assert len(ax.collections) == 1  # one band: two seeds have no interval
    assert len(ax.lines) == 1 + 1 + 2 + 1  # mean, mean and its two seeds, optimum
    assert "environment steps" in ax.get_xlabel()


def test_learning_curves_work_without_an_optimum():
    ax = charts.learning_curves({"run": ([0, 1], [[0.0, 1.0]])}, optimum=float("nan"))
    assert labels(ax) == ["run"]


def test_what_is_not_the_exact_optimum_is_not_called_so():
    name = "most an episode can pay"
    ax = charts.learning_curves({"run": ([0, 1], [[0.0, 1.0]])}, 1000.0, optimum_name=name)
    assert labels(ax) == ["run", name]
    ax = charts.return_bars(["cheetah-run"], {"run": [[1.0]]}, [1000.0], optimum_name=name)
    assert set(labels(ax)) == {"run", name}


@pytest.mark.parametrize("end, thousands", [(6_000.0, False), (300_000.0, True)])
def test_long_runs_count_in_thousands(end, thousands):
    ax = charts.learning_curves({"run": ([0, end], [[0.0, 1.0]])})
    ax.figure.canvas.draw()
    assert ax.get_xticklabels()[-1].get_text().endswith("k") == thousands


def test_published_curves_lie_in_grey_under_ours_at_equal_steps():
    theirs = {"TD-MPC, published": ([0, 1e5, 2e6], [5.0, 500.0, 800.0], [1.0, 20.0, 9.0])}
    ours = {"drago": (np.array([0, 4000, 8000]), np.array([[0.0, 90.0, 200.0]]))}
    ax = charts.beside_published(ours, theirs, "cheetah-run")
    assert ax.get_xscale() == "log" and labels(ax) == ["drago", "TD-MPC, published"]
    drawn = {line.get_color(): line for line in ax.lines}
    assert drawn[charts.BLUE].get_xdata().tolist() == [4000, 8000]  # step 0 has no logarithm
    assert drawn["0.6"].get_xdata().tolist() == [1e5, 2e6]
    assert drawn["0.6"].get_zorder() <= drawn[charts.BLUE].get_zorder()


def test_a_run_of_one_evaluation_still_stands_beside_published_curves():
    ax = charts.beside_published({"drago": (np.array([0]), np.array([[3.0]]))}, {})
    assert labels(ax) == []


def test_errors_are_drawn_on_an_axis_of_a_decade_or_more():
    ax = charts.retention_curves({"tdmpc": [[0.02, 0.03]]}, ylabel="error", log=True)
    low, high = ax.get_ylim()
    assert ax.get_yscale() == "log" and high / low >= 9.99 and ax.get_ylabel() == "error"
    ax = charts.retention_curves({"tdmpc": [[1e-4, 1.0]]}, log=True)
    assert ax.get_ylim()[0] < 1e-4 < 1.0 < ax.get_ylim()[1]


def test_errors_of_several_seeds_are_averaged_by_their_logarithms():
    ax = charts.retention_curves({"tdmpc": [[1e-2], [1e-4], [1e-3]]}, log=True)
    assert ax.lines[0].get_ydata() == pytest.approx([1e-3])


def test_long_names_of_tasks_take_several_lines():
    ax = charts.return_matrix(np.eye(2), ["cheetah-run-backwards", "room-1"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["cheetah-\nrun-\nbackwards", "room-1"]


def test_retention_starts_at_the_task_that_was_learnt():
    ax = charts.retention_curves({"drago": np.ones((3, 2))}, first=3)
    assert ax.get_xticks().tolist() == [3, 4]
    assert ax.lines[0].get_xdata().tolist() == [3, 4]


def test_the_return_matrix_leaves_tasks_not_learnt_blank():
    matrix = np.array([[0.5, np.nan], [0.25, 1.0]])
    ax = charts.return_matrix(matrix, TASKS[:2])
    assert [text.get_text() for text in ax.texts] == ["0.50", "0.25", "1.00"]


def test_return_bars_draw_one_optimum_per_task():
    ax = charts.return_bars(
        TASKS[:2], {"drago": [[1.0, 2.0]], "ewc": [[1, 2], [3, 4]]}, [3, np.nan]
    )
    assert labels(ax).count("exact optimum") == 1
    assert len(ax.patches) == 4


def test_share_bars_cluster_by_group():
    ax = charts.share_bars(["a", "b", "c"], {"met": [0, 0.5, 1], "dreamt": [1, 1, 1]}, "share")
    assert len(ax.patches) == 6


def test_series_marks_task_switches():
    ax = charts.series(
        {"loss": ([0, 1, 2], [1.0, 0.1, 0.01])}, "steps", "loss", log=True, boundaries=[1]
    )
    assert ax.get_yscale() == "log" and len(ax.lines) == 2


def test_saving_writes_a_png_and_makes_the_folder(tmp_path):
    path = tmp_path / "figures" / "a.png"
    charts.save(charts.series({"a": ([0], [1])}, "x", "y"), path)
    assert path.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("where", ["beside", "below", "figure"])
def test_a_legend_lies_on_none_of_its_lines(where):
    curves = {"one": ([0, 1], [0, 1]), "another": ([0, 1], [1, 0])}
    ax = charts.series(curves, "x", "y", legend=where)
    ax.figure.canvas.draw()
    legend = ax.get_legend() or ax.figure.legends[0]
    assert not legend.get_window_extent().overlaps(ax.get_window_extent())
    assert [text.get_text() for text in legend.get_texts()] == ["one", "another"]


def test_a_legend_can_be_left_out():
    curves = {"one": ([0, 1], [0, 1]), "another": ([0, 1], [1, 0])}
    assert charts.series(curves, "x", "y", legend="").get_legend() is None


def test_a_filmstrip_shows_evenly_spaced_pictures_and_their_times():
    frames = np.arange(11, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(6, 2)
    ax = charts.filmstrip(frames.repeat(3, 3), np.arange(11) * 4, count=3, title="walker")
    strip = ax.images[0].get_array()
    assert strip.shape == (4, 3 * 6 + 2, 3)  # three pictures and two gaps of one pixel
    assert [int(strip[0, at, 0]) for at in (0, 5, 6, 7, 13, 14)] == [0, 0, 255, 5, 255, 10]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "20", "40"]
    assert (ax.get_title(), ax.get_xlabel()) == ("walker", "env step")


def test_a_filmstrip_of_fewer_pictures_than_asked_for_shows_them_all():
    ax = charts.filmstrip(np.zeros((2, 4, 6, 3), np.uint8), [0.0, 0.5], count=6)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.5"]


def test_a_filmstrip_without_pictures_or_times_is_refused():
    with pytest.raises(UserError, match="0 pictures and 0 times"):
        charts.filmstrip([], [])
    with pytest.raises(UserError, match="2 pictures and 1 times"):
        charts.filmstrip(np.zeros((2, 4, 6, 3), np.uint8), [0])


def test_a_figure_is_replaced_in_one_step(tmp_path, figures, monkeypatch):
    path = tmp_path / "figures" / "a.png"
    ax = charts.series({"a": ([0, 1], [0.0, 1.0])}, "x", "y", "A")
    charts.save(ax, path)
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")

    def full(target, **_):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ax.figure, "savefig", full)
    with pytest.raises(UserError, match=r"disk full: .*a\.png"):
        charts.save(ax, path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
