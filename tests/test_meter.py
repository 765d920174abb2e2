import math

import torch

from lib.meter import Meter, observation


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_means_are_taken_over_each_groups_own_observations():
    # loss: (1 + 4) / 2, other: 6 / 2, alone: 9 / 1
    meter = Meter()
    meter.add("learner", scalars(loss=1.0, other=2.0))
    meter.add("learner", scalars(loss=4.0, other=4.0))
    meter.add("vae", scalars(alone=9.0))
    assert meter.means() == {"learner/loss": 2.5, "learner/other": 3.0, "vae/alone": 9.0}


def test_one_bad_observation_is_remembered_until_the_meter_is_cleared():
    meter = Meter()
    for loss in (1.0, math.nan, 2.0):
        meter.add("learner", scalars(loss=loss, other=1.0))
    assert meter.finite() == {"learner/loss": False, "learner/other": True}
    meter.clear()
    assert all(meter.finite().values()) and meter.means() == {}


def test_a_cleared_meter_counts_from_nothing_and_tells_of_new_observations_alone():
    meter = Meter()
    meter.add("learner", scalars(loss=3.0))
    meter.add("vae", scalars(kl=1.0))
    meter.clear()
    meter.add("learner", scalars(loss=5.0))
    assert meter.means() == {"learner/loss": 5.0}


def test_infinities_of_both_signs_do_not_hide_each_other():
    meter = Meter()
    meter.add("g", scalars(loss=math.inf))
    meter.add("g", scalars(loss=-math.inf))
    assert meter.finite() == {"g/loss": False}


def test_a_restored_meter_goes_on_counting():
    meter, other = Meter(), Meter()
    meter.add("g", scalars(loss=1.0))
    other.load_state_dict(meter.state_dict(), "cpu")
    other.add("g", scalars(loss=5.0))
    assert other.means() == {"g/loss": 3.0} and meter.means() == {"g/loss": 1.0}


def test_what_is_metered_needs_no_gradient_afterwards():
    meter = Meter()
    meter.add("g", {"loss": torch.ones((), requires_grad=True) * 2})
    assert not meter.sums["g"].requires_grad


def test_a_groups_sums_stay_in_place_for_whoever_adds_to_them():
    # what is added to the sums themselves counts like any other: (1 + 5) / 2
    meter = Meter()
    sums = meter.group("g", ["loss"], "cpu")
    assert meter.means() == {}
    sums += observation(scalars(loss=1.0))
    meter.add("g", scalars(loss=5.0))
    assert meter.means() == {"g/loss": 3.0}
    meter.clear()
    assert meter.group("g", ["loss"], "cpu") is sums and not sums.any()


def test_an_observation_is_the_values_and_a_count_of_one_for_every_lane():
    row = observation({"loss": torch.tensor([1.0, 2.0]), "kl": torch.tensor([3.0, 4.0])})
    assert row.tolist() == [[1.0, 3.0, 1.0], [2.0, 4.0, 1.0]]
