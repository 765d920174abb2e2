import io

import numpy as np
import pytest
from PIL import Image

from lib.core.errors import UserError
from lib.viewer import Dial, View, in_words
from lib.viewer.base import png


class Colours(View):
    """Red along the first dial, green along the second; counts how often it draws."""

    def __init__(self):
        super().__init__(Dial("red", ("none", "some", "all"), 1), Dial("green", ("0", "1")))
        self.drawn = []

    def draw(self, red, green):
        self.drawn.append((red, green))
        return png(np.full((2, 3, 3), (100 * red, 200 * green, 0), np.uint8))

    def caption(self, red, green):
        return f"red {red}, green {green}"

    def static(self):
        raise NotImplementedError


def colour(picture):
    return Image.open(io.BytesIO(picture)).getpixel((0, 0))


def test_every_position_is_drawn_when_first_looked_at_and_once():
    view = Colours()
    image, buttons, words = view.widget.children
    assert view.drawn == [(1, 0)] and words.value == "red 1, green 0"
    *transport, green = buttons.children
    assert len(transport) == 5 and green.description == "green" and green.readout
    assert not transport[3].readout  # its labels are words, which the caption says
    green.value = 1
    assert colour(image.value) == (100, 200, 0) and words.value == "red 1, green 1"
    transport[2].click()
    assert colour(image.value) == (200, 200, 0)
    green.value = 0
    transport[1].click()
    assert view.drawn == [(1, 0), (1, 1), (2, 1), (2, 0)]  # and (1, 0) was there already


def test_a_page_without_a_kernel_gets_every_position_the_last_dial_fastest():
    film = Colours().film()
    assert film["captions"] == [f"red {r}, green {g}" for r in range(3) for g in range(2)]
    assert len(film["pictures"]) == 6
    assert [dial["start"] for dial in film["dials"]] == [1, 0]


def test_a_mistake_is_one_line_and_other_errors_stay_errors(capsys):
    def refuse(error):
        raise error

    assert in_words(refuse)(UserError("no such folder")) is None
    assert capsys.readouterr().out == "Nothing to show: no such folder\n"
    with pytest.raises(ZeroDivisionError):
        in_words(refuse)(ZeroDivisionError())
