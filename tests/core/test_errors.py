import pytest

from lib.core.errors import NonFiniteError, RunInterrupted, UserError, unknown


def test_the_nearest_known_name_is_offered():
    message = str(unknown("task", "four-room", ["four-rooms", "door-key"]))
    assert message == (
        "unknown task 'four-room'; known: door-key, four-rooms (did you mean 'four-rooms'?)"
    )


def test_nothing_is_offered_where_nothing_is_near():
    assert str(unknown("task", "xyz", ["room-1"], "see params/")) == (
        "unknown task 'xyz'; known: room-1; see params/"
    )


@pytest.mark.parametrize("arrived", [7, None, ["room-1"], 1.5])
def test_what_arrived_may_be_of_any_type(arrived):
    assert repr(arrived) in str(unknown("task", arrived, ["room-1"]))


def test_every_error_for_users_is_a_user_error():
    assert issubclass(RunInterrupted, UserError) and issubclass(NonFiniteError, UserError)
