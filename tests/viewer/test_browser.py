import json

import numpy as np
import pytest

from lib import viewer
from lib.core.errors import UserError
from lib.viewer.browser import RETURN, Browser, Log
from tests.synthetic import make_run

pytestmark = pytest.mark.usefixtures("figures")


def line(step, value, task="room-1"):
    values = {f"eval/{task}/return": value, "train/model/loss": 2 * value}
    return json.dumps({"env_steps": step, "task": task, "values": values}) + "\n"


@pytest.fixture
def outputs(tmp_path):
    """Two runs, something else, and an empty folder."""
    for name in ("one", "two"):
        make_run(tmp_path / name)
        (tmp_path / name / "metrics.jsonl").write_text(line(0, 1.0) + line(10, 2.0, "room-2"))
        (tmp_path / name / "config.yaml").write_text(
            "{method_name: drago, preset: grid-quick, seed: 0, tasks: [room-1], budget: {}}"
        )
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_log_reads_only_what_was_added_and_only_whole_lines(tmp_path):
    path, log = tmp_path / "metrics.jsonl", Log(tmp_path)
    assert log.read() == 0  # there is none yet
    path.write_text(line(0, 1.0) + line(10, 2.0)[:20])
    assert log.read() == 1
    path.write_text(line(0, 1.0) + line(10, 2.0) + "nonsense\n")
    log.read()
    assert [part.tolist() for part in log.curve(RETURN)] == [[0, 10], [1, 2]]
    assert log.curve("train/model/loss")[1].tolist() == [2, 4]
    path.write_text(line(0, 7.0))  # started afresh
    log.read()
    assert log.curve(RETURN)[1].tolist() == [7]


def test_only_runs_are_listed(outputs):
    found = Browser(outputs)
    assert list(found.logs) == ["one", "two"] == found.picked
    assert found.metrics()[0] == RETURN == found.metric
    assert "2 runs" in found.words() and "foreign" not in found.words()
    assert "foreign" not in found.widget.children[-1].value


def test_no_line_joins_two_tasks(tmp_path):
    path, log = tmp_path / "metrics.jsonl", Log(tmp_path)
    path.write_text(
        line(0, 1.0) + line(10, 2.0) + line(10, 5.0, "room-2") + line(20, 6.0, "room-2")
    )
    log.read()
    steps, values = log.curve(RETURN)
    assert steps.tolist() == [0, 10, 10, 10, 20]
    assert values[[0, 1, 3, 4]].tolist() == [1, 2, 5, 6] and np.isnan(values[2])
    assert np.isnan(log.curve("train/model/loss")[1][2])
    assert log.curve("eval/room-2/return")[1].tolist() == [5, 6]  # goes on in later tasks


def test_the_page_shows_all_picked_with_names_on_the_axes(outputs):
    (ax,) = Browser(outputs).static()
    assert [row.get_label() for row in ax.get_lines()] == ["one", "two"]
    assert ax.get_ylabel() == RETURN and "environment steps" in ax.get_xlabel()
    (ax,) = Browser(outputs, ["two"]).static()
    assert len(ax.get_lines()) == 1


def test_a_look_again_draws_what_a_run_has_added_and_finds_new_runs(outputs):
    found = Browser(outputs)
    image, metric, runs, buttons, words = found.widget.children
    before = image.value
    with open(outputs / "one" / "metrics.jsonl", "a") as file:
        file.write(line(20, 5.0))
    (outputs / "empty" / "config.yaml").write_text((outputs / "one" / "config.yaml").read_text())
    buttons.children[0].click()
    assert image.value != before
    assert runs.options == ("one", "two", "empty") and runs.value == ("one", "two")
    assert "empty: stopped" in words.value
    before = image.value
    buttons.children[2].value += 1  # the timer, while runs are followed
    assert image.value == before  # nothing was added
    metric.value = "train/model/loss"
    assert image.value != before
    runs.value = ("empty",)
    assert found.picked == ["empty"] and found.picture()


def test_what_cannot_be_browsed_is_one_line(outputs, tmp_path, capsys):
    (tmp_path / "bare").mkdir()
    for folder, runs, says in (
        (outputs / "nowhere", (), "there is no folder"),
        (outputs / "foreign", (), "no run in"),
        (tmp_path / "bare", (), "python -m lib run"),
        (outputs, ("three",), "'three' is no run"),
    ):
        assert viewer.browse(folder, runs) is None
        said = capsys.readouterr().out
        assert said.startswith("Nothing to show: ") and said.count("\n") == 1 and says in said
    with pytest.raises(UserError):
        Browser(outputs / "nowhere")
