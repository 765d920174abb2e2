import math

import torch

from lib.engine.running_means import RunningMeans, observation


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_means_are_taken_over_each_groups_own_observations():
    # loss: (1 + 4) / 2, other: 6 / 2, alone: 9 / 1
    running_means = RunningMeans()
    running_means.add("learner", scalars(loss=1.0, other=2.0))
    running_means.add("learner", scalars(loss=4.0, other=4.0))
    running_means.add("vae", scalars(alone=9.0))
    assert running_means.means() == {"learner/loss": 2.5, "learner/other": 3.0, "vae/alone": 9.0}


def test_one_bad_observation_is_remembered_until_the_meter_is_cleared():
    running_means = RunningMeans()
    for loss in (1.0, math.nan, 2.0):
        running_means.add("learner", scalars(loss=loss, other=1.0))
    assert running_means.finite() == {"learner/loss": False, "learner/other": True}
    running_means.clear()
    assert all(running_means.finite().values()) and running_means.means() == {}


def test_a_cleared_meter_counts_from_nothing_and_tells_of_new_observations_alone():
    running_means = RunningMeans()
    running_means.add("learner", scalars(loss=3.0))
    running_means.add("vae", scalars(kl=1.0))
    running_means.clear()
    running_means.add("learner", scalars(loss=5.0))
    assert running_means.means() == {"learner/loss": 5.0}


def test_infinities_of_both_signs_do_not_hide_each_other():
    running_means = RunningMeans()
    running_means.add("g", scalars(loss=math.inf))
    running_means.add("g", scalars(loss=-math.inf))
    assert running_means.finite() == {"g/loss": False}


def test_a_restored_meter_goes_on_counting():
    running_means, other = RunningMeans(), RunningMeans()
    running_means.add("g", scalars(loss=1.0))
    other.load_state_dict(running_means.state_dict(), "cpu")
    other.add("g", scalars(loss=5.0))
    assert other.means() == {"g/loss": 3.0} and running_means.means() == {"g/loss": 1.0}


def test_what_is_metered_needs_no_gradient_afterwards():
    running_means = RunningMeans()
    running_means.add("g", {"loss": torch.ones((), requires_grad=True) * 2})
    assert not running_means.sums["g"].requires_grad


def test_a_groups_sums_stay_in_place_for_whoever_adds_to_them():
    # what is added to the sums themselves counts like any other: (1 + 5) / 2
    running_means = RunningMeans()
    sums = running_means.group("g", ["loss"], "cpu")
    assert running_means.means() == {}
    sums += observation(scalars(loss=1.0))
    running_means.add("g", scalars(loss=5.0))
    assert running_means.means() == {"g/loss": 3.0}
    running_means.clear()
    assert running_means.group("g", ["loss"], "cpu") is sums and not sums.any()


def test_an_observation_is_the_values_and_a_count_of_one_for_every_lane():
    row = observation({"loss": torch.tensor([1.0, 2.0]), "kl": torch.tensor([3.0, 4.0])})
    assert row.tolist() == [[1.0, 3.0, 1.0], [2.0, 4.0, 1.0]]
