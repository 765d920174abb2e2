import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lib import plots
from tests.synthetic import TASKS


@pytest.fixture(autouse=True)
def _no_figure_is_left_open_and_no_style_is_changed():
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_every_method_has_its_own_look():
    looks = [tuple(plots.style(name).values()) for name in plots.METHOD_STYLE]
    assert len(set(looks)) == len(looks)


def test_learning_curves_show_the_optimum_and_a_band_from_three_seeds():
    steps = np.arange(5) * 100
    many, few = np.random.default_rng(0).random((3, 5)), np.ones((2, 5))
    ax = plots.learning_curves({"drago": (steps, many), "tdmpc": (steps, few)}, optimum=2.0)
    assert labels(ax) == ["drago", "tdmpc", "exact optimum"]
    assert len(ax.collections) == 1  # one band: two seeds have no interval
    assert len(ax.lines) == 1 + 1 + 2 + 1  # mean, mean and its two seeds, optimum
    assert "environment steps" in ax.get_xlabel()


def test_learning_curves_work_without_an_optimum():
    ax = plots.learning_curves({"run": ([0, 1], [[0.0, 1.0]])}, optimum=float("nan"))
    assert labels(ax) == ["run"]


def test_retention_starts_at_the_task_that_was_learnt():
    ax = plots.retention_curves({"drago": np.ones((3, 2))}, first=3)
    assert ax.get_xticks().tolist() == [3, 4]
    assert ax.lines[0].get_xdata().tolist() == [3, 4]


def test_the_return_matrix_leaves_tasks_not_learnt_blank():
    matrix = np.array([[0.5, np.nan], [0.25, 1.0]])
    ax = plots.return_matrix(matrix, TASKS[:2])
    assert [text.get_text() for text in ax.texts] == ["0.50", "0.25", "1.00"]


def test_return_bars_draw_one_optimum_per_task():
    ax = plots.return_bars(TASKS[:2], {"drago": [[1.0, 2.0]], "ewc": [[1, 2], [3, 4]]}, [3, np.nan])
    assert labels(ax).count("exact optimum") == 1
    assert len(ax.patches) == 4


def test_share_bars_cluster_by_group():
    ax = plots.share_bars(["a", "b", "c"], {"met": [0, 0.5, 1], "dreamt": [1, 1, 1]}, "share")
    assert len(ax.patches) == 6


def test_series_marks_task_switches():
    ax = plots.series(
        {"loss": ([0, 1, 2], [1.0, 0.1, 0.01])}, "steps", "loss", log=True, boundaries=[1]
    )
    assert ax.get_yscale() == "log" and len(ax.lines) == 2


def test_saving_writes_a_png_and_makes_the_folder(tmp_path):
    path = tmp_path / "figures" / "a.png"
    plots.save(plots.series({"a": ([0], [1])}, "x", "y"), path)
    assert path.read_bytes()[:4] == b"\x89PNG"
