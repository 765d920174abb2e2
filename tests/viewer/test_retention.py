import io

import numpy as np
import pytest
from PIL import Image

from lib import viewer
from lib.core.errors import UserError
from lib.viewer.retention import Retention, of_run
from tests.synthetic import BODY_TASKS, TASKS, make_body_run, make_run

pytestmark = pytest.mark.usefixtures("figures")


def test_a_run_on_the_grid_has_a_map_for_every_task_and_kind(tmp_path):
    view = of_run(make_run(tmp_path / "run"))
    after, kind = view.dials
    assert after.labels == tuple(f"{i + 1}: {task}" for i, task in enumerate(TASKS))
    assert kind.labels[:2] == ("right-cell accuracy", "mean squared error [observation units²]")
    pictures = [view.picture(k, m) for k in range(len(TASKS)) for m in range(len(kind))]
    assert len(set(pictures)) == len(pictures)
    assert len({Image.open(io.BytesIO(picture)).size for picture in pictures}) == 1
    said = view.caption(1, 0)
    assert said.startswith("after room-2: right-cell accuracy on room-1 0.")
    assert "room-2 0." in said and "room-3" not in said


def test_the_page_shows_every_task_and_the_table(tmp_path):
    axes = of_run(make_run(tmp_path / "run")).static()
    titles = [ax.get_title() for ax in axes]
    assert titles[: len(TASKS)] == [f"after {task}" for task in TASKS]
    assert titles[len(TASKS)] == "right-cell accuracy"


def test_a_run_without_a_generator_has_no_map_of_dreams(tmp_path):
    view = of_run(make_run(tmp_path / "run", method="tdmpc"))
    assert view.dials[1].labels[2:] == ("phantom plans",)


def test_plans_of_the_task_just_learnt_have_a_map(tmp_path):
    folder = make_run(tmp_path / "run", method="tdmpc")
    view = of_run(folder)
    said = view.caption(0, 2)
    with np.load(folder / "audits/task-1.npz") as held:
        met = held["met"][0].any(-1)
        phantoms = int((held["plans_phantom_0"] & met).sum())
    assert f"map: {phantoms} of {met.sum()} states met have a phantom plan" in said
    assert "at a plan's end 70% of cells are right" in said
    assert "plans after room-1" in [ax.get_title() for ax in view.static()]


def test_an_older_run_has_no_map_of_plans(tmp_path):
    folder = make_run(tmp_path / "run", method="tdmpc")
    for path in (folder / "audits").glob("*.npz"):
        with np.load(path) as held:
            kept = {name: held[name] for name in held if not name.startswith("plans_")}
        np.savez_compressed(path, **kept)
    assert len(of_run(folder).dials[1]) == 2


def test_a_body_has_a_table_of_errors_and_no_map(tmp_path):
    view = of_run(make_body_run(tmp_path / "run"))
    assert len(view.dials) == 1 and view.measure.log
    assert view.picture(0) != view.picture(2)
    (ax,) = view.static()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list(BODY_TASKS)


def test_what_cannot_be_shown_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere", 3, None):
        assert viewer.retention(folder) is None
        said = capsys.readouterr().out
        assert said.startswith("Nothing to show: ") and said.count("\n") == 1
    with pytest.raises(UserError, match=r"'known' has shape \(1, 1\), wanted \(2, 2\): 2 tasks"):
        Retention(["a", "b"], np.ones((1, 1)))
