import numpy as np
import pytest

from lib.core.plans import phantoms, told_steps


def test_a_phantom_is_promised_more_than_it_pays_by_a_tenth_of_what_can_be_paid():
    # payable 20: the margin is 2. Promised 5 and paid 3 is at the margin, 5.1 and 3 beyond it.
    promised, paid = np.array([5.0, 5.1, 20.0, 1.0]), np.array([3.0, 3.0, 20.0, 9.0])
    assert phantoms(promised, paid, 20.0).tolist() == [False, True, False, False]


@pytest.mark.parametrize(("horizon", "steps"), [(1, [1]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_metrics_tell_of_doubling_steps_and_of_the_horizon(horizon, steps):
    assert told_steps(horizon) == steps
