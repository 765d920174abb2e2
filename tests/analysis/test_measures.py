import numpy as np
import pytest

from lib.analysis import measures
from lib.analysis.measures import ACCURACY, ERROR, SCORE, UNEXPLAINED
from lib.core.errors import UserError

NAN = float("nan")


@pytest.mark.parametrize(
    "names, wanted",
    [
        (["audit/met-room-1/accuracy", "audit/met-room-1/mse"], (ACCURACY,)),
        (["audit/met-a/mse", "audit/met-a/unexplained"], (ERROR, UNEXPLAINED)),
        (["audit/met-a/neg_log_mse", "audit/met-a/mse", "audit/met-a/count"], (ERROR, SCORE)),
        (["audit/room-1/mse", "dream/met-room-1/coverage"], (ACCURACY,)),
        ([], (ACCURACY,)),
    ],
)
def test_measures_are_those_that_the_audit_of_a_tasks_transitions_holds(names, wanted):
    assert measures.measures_in(names) == wanted


def test_every_measure_is_said_in_its_own_form():
    assert (ACCURACY.value(0.874), ACCURACY.remains(0.874)) == ("0.87", "87%")
    assert (ERROR.value(0.00314159), ERROR.remains(31.4159)) == ("0.00314", "31.4")
    assert (SCORE.value(3.14159), SCORE.remains(-0.5)) == ("3.14", "-0.50")
    assert ACCURACY.value(NAN) == ERROR.remains(NAN) == "–"
    assert ERROR.axis == "mean squared error [observation units²]"
    assert UNEXPLAINED.axis == "unexplained share of the change"


def test_what_is_left_is_a_quotient_or_a_difference():
    numbers = np.array([[2.0, NAN], [5.0, 4.0]])
    np.testing.assert_allclose(ERROR.left_of(numbers), [[1, NAN], [2.5, 1]])
    np.testing.assert_allclose(SCORE.left_of(numbers), [[0, NAN], [3, 0]])


def test_cells_average_over_seeds_as_the_axis_does():
    assert ACCURACY.cell(np.array([0.7, 0.9, 0.8])) == "0.80 [0.70, 0.90]"
    # the cube root of 1e-3 * 1e-2 * 1e-4
    assert ERROR.cell(np.array([1e-3, 1e-2, 1e-4])) == "0.001 [0.0001, 0.01]"
    assert ERROR.cell(np.array([1e-3, NAN])) == ERROR.cell(np.zeros(0)) == "–"


def test_the_best_has_the_highest_accuracy_or_the_lowest_error():
    numbers = {"one": np.array([0.2, 0.3]), "other": np.array([0.6, 0.9])}
    for measure, best in ((ACCURACY, "other"), (SCORE, "other"), (ERROR, "one")):
        estimates = {label: measure.estimate(scores) for label, scores in numbers.items()}
        assert measure.ranked(estimates)[0] == best


def test_every_measure_ends_in_a_whole_sentence():
    assert ACCURACY.sentence("room-1", 0.5, 4) == (
        "Of its accuracy on what it met in room-1, the world model keeps 50% after 4 tasks."
    )
    for measure in measures.MEASURES:
        said = measure.sentence("cheetah-run", 2.5, 3)
        assert "cheetah-run" in said and "3 tasks" in said and "{" not in said


def test_only_a_known_kind_of_optimum_counts_as_100_percent():
    assert measures.yardstick("exact").name == "exact optimum"
    assert "optimum" not in measures.yardstick("ceiling").share
    with pytest.raises(UserError, match="known: ceiling, exact"):
        measures.yardstick("guess")
