import numpy as np
import pytest

from lib.analysis import point_stream

TASKS = ["pretrain", "turn-90", "turn-180"]
SMALL = {
    "budget.updates_per_task": 1,
    "budget.lengths": [4, 2],
    "model.layers": 1,
    "model.width": 12,
    "pretrain.batch": 8,
    "tune.batch": 8,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return point_stream.files(tmp_path_factory.mktemp("files"), 11, 0)


def agent(method="dt-lora"):
    return point_stream.new_agent(method, TASKS, 0, SMALL)


def test_a_task_is_learnt_to_its_end_whether_begun_or_not(folder):
    one = agent()
    told = point_stream.learn(one, 0, folder, marks=2)
    assert one.updates == 4 and len(told) == 2
    assert all("train/pretraining/action" in report for report in told)
    point_stream.begin(one, 1, folder)
    assert point_stream.learn(one, 1, folder) == [] and one.updates == 2


def test_evaluations_of_a_task_are_the_same_episodes_every_time(folder):
    one = agent()
    point_stream.learn(one, 0, folder)
    first, again = (point_stream.play(one, 0, 5) for _ in range(2))
    assert bool((first.obs == again.obs).all())
    assert 0 <= point_stream.success(one, 0, 5) <= 1


def test_a_stream_leaves_a_matrix_of_what_was_known_when(folder):
    one = agent()
    point_stream.learn(one, 0, folder)
    matrix = point_stream.learn_stream(one, folder, episodes=5)
    assert np.isfinite(matrix[np.tril_indices(2)]).all() and np.isnan(matrix[0, 1])
    assert matrix[0, 0] == matrix[1, 0], "an oracle's sets stay, and so do the episodes"
    other = agent()
    point_stream.start_from(other, one)
    point_stream.learn(other, 1, folder)
    told = point_stream.learn_stream(other, folder, known=0.25, episodes=5)
    assert told[0, 0] == 0.25 and other.task == 2


def test_an_agent_starts_from_anothers_model(folder):
    one, other = agent("dt-full"), agent()
    point_stream.learn(one, 0, folder)
    point_stream.start_from(other, one)
    assert bool((other.model.head.weight == one.model.head.weight).all())
