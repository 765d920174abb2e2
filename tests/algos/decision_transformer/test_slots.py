import pytest
import torch

from lib.algos.decision_transformer import slots
from lib.core.errors import UserError
from lib.core.spaces import ObsSpace


def test_slots_of_all_parts_add_up_to_those_of_the_published_model():
    assert slots.ALL == sum(slots.SIZES.values()) == 204
    # A few of the published offsets: name:size@offset.
    assert (slots.OFFSETS["velocity"], slots.SIZES["velocity"]) == (14, 27)
    assert (slots.OFFSETS["body_velocities"], slots.SIZES["body_velocities"]) == (158, 45)
    assert slots.OFFSETS["height"] == 203


def test_named_parts_are_scattered_and_unnamed_numbers_come_first():
    # position:2 begins at 41, velocity:1 at 14.
    named = ObsSpace("vector", (3,), parts=(("position", 2), ("velocity", 1)))
    assert slots.layout(named, 204, "walk") == (41, 42, 14)
    assert slots.layout(ObsSpace("vector", (4,)), 204, "push") == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("space", "room", "message"),
    [
        (ObsSpace("vector", (12,)), 11, "task 'x' shows 12 numbers and needs 12 slots.*has 11"),
        (ObsSpace("vector", (2,), parts=(("position", 2),)), 42, "needs 43 slots"),
        (ObsSpace("vector", (2,), parts=(("touch", 6),)), 204, "6 numbers of 'touch'.*for 5"),
        (ObsSpace("vector", (2,), parts=(("tuch", 2),)), 204, "unknown part.*did you mean 'touch'"),
        (ObsSpace("image", (8, 8, 3), torch.uint8), 204, "task 'x' shows image.*reads vectors"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(space, room, message):
    with pytest.raises(UserError, match=message) as error:
        slots.layout(space, room, "x")
    assert "\n" not in str(error.value)
