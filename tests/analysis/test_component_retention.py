import numpy as np
import pytest

from lib.analysis import component_retention, results
from tests.synthetic import BODY_TASKS, TASKS, make_body_run, make_run


def group(folders):
    (found,) = results.group_runs([results.load_run(folder) for folder in folders])
    return found


@pytest.fixture
def grid(tmp_path):
    return group([make_run(tmp_path / f"run-{i}", seed=i) for i in range(3)])


@pytest.fixture
def body(tmp_path):
    return group([make_body_run(tmp_path / f"run-{i}", seed=i) for i in range(3)])


def test_an_agent_of_the_grid_has_three_parts_and_each_says_what_it_measures(grid):
    model, generator, policy = component_retention.of(grid.first)
    assert model.axis == "share of that accuracy kept" and not model.log
    assert generator.axis.startswith("share of pairs met")
    assert policy.axis == "share of its return kept"


def test_old_tasks_are_averaged_after_every_later_one(grid):
    policy = component_retention.of(grid.first)[-1]
    found = policy.old_tasks(grid)
    assert found.shape == (3, len(TASKS) - 1)
    # made up so that 0.97 of a return is left after each further task: after the third task the
    # second has 0.97 and the first 0.97 ** 2
    assert found[0, 0] == pytest.approx(0.97, abs=0.02)
    assert found[0, 1] == pytest.approx((0.97 + 0.97**2) / 2, abs=0.02)


def test_a_return_is_compared_with_that_at_the_tasks_own_end(grid):
    kept = component_retention.returns_kept(grid.first)
    assert np.diagonal(kept) == pytest.approx(1.0)
    assert np.isnan(kept[0, 1:]).all()


def test_errors_of_bodies_are_averaged_by_their_logarithm(body):
    model = component_retention.of(body.first)[0]
    assert model.log
    matrix = model.matrix(body.runs[0])
    last = model.old_tasks(body)[0, -1]
    assert last == pytest.approx(np.exp(np.log(matrix[-1, :-1]).mean()))
    assert last > 1  # errors grow
    assert model.old_tasks(body).shape == (3, len(BODY_TASKS) - 1)


def test_what_a_world_cannot_check_is_unknown_and_a_dash(body):
    generator = component_retention.of(body.first)[1]
    scores = generator.old_tasks(body)
    assert np.isnan(scores).all()
    assert generator.cell(scores[:, -1]) == "–"
