import numpy as np
import pytest

from lib.core.errors import UserError
from lib.envs.pixels import backgrounds
from lib.envs.pixels.clips import VideoFolder
from lib.envs.pixels.procedural import Procedural


def test_background_is_where_blue_exceeds_both_others():
    # bluest; as green; as red; red; grey; black
    colours = [(1, 2, 3), (1, 3, 3), (3, 1, 3), (9, 0, 5), (7, 7, 7), (0, 0, 0)]
    picture = np.array([colours], np.uint8)
    assert backgrounds.mask(picture).tolist() == [[True, False, False, False, False, False]]


def test_the_mask_is_strict_and_does_not_wrap_around():
    picture = np.array([[(254, 254, 255), (255, 0, 254)]], np.uint8)
    assert backgrounds.mask(picture).tolist() == [[True, False]]


def test_background_pixels_are_replaced_and_nothing_else():
    draws = np.random.default_rng(0)
    picture, behind = draws.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    seen = backgrounds.composite(picture, behind)
    for row in range(5):
        for column in range(7):
            red, green, blue = (int(part) for part in picture[row, column])
            expected = behind if blue > red and blue > green else picture
            assert (seen[row, column] == expected[row, column]).all()
    assert seen.dtype == np.uint8 and seen is not picture


def test_a_setting_names_a_source(tmp_path):
    assert backgrounds.source("plain", "train", 64) is None
    made = backgrounds.source("procedural:drive", "test", 32)
    assert isinstance(made, Procedural) and (made.kind, made.split, made.size) == (
        "drive",
        "test",
        32,
    )
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", np.zeros((2, 4, 4, 3), np.uint8))
    assert isinstance(backgrounds.source(f"folder:{tmp_path}", "train", 8), VideoFolder)


def test_grey_clips_have_equal_channels_and_the_brightness_of_the_coloured():
    coloured = backgrounds.source("procedural:natural", "train", 32)
    grey = backgrounds.source("procedural:natural", "train", 32, grey=True)
    for each in (coloured, grey):
        each.reset(np.random.default_rng(0))
    bright, seen = coloured.next(), grey.next()
    assert (seen == seen[..., :1]).all() and seen.dtype == np.uint8
    assert np.abs(bright @ backgrounds.LUMA - seen[..., 0]).max() <= 0.51


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plane", "unknown background 'plane'; known: .*folder:PATH.*did you mean 'plain'"),
        ("procedural:natrual", "unknown procedural background 'natrual'.*mean 'natural'"),
        ("procedural", "unknown procedural background ''"),
        ("folder:", "names no folder; write folder:PATH"),
        ("", "unknown background ''"),
    ],
)
def test_other_settings_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        backgrounds.source(text, "train", 64)


def test_a_bare_path_is_answered_with_what_to_write(tmp_path):
    with pytest.raises(UserError, match=f"write 'folder:{tmp_path}'"):
        backgrounds.check(str(tmp_path))


def test_pictures_without_pixels_are_refused():
    with pytest.raises(UserError, match="background size 0: pictures need"):
        backgrounds.source("procedural:rain", "train", 0)
