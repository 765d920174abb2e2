import numpy as np
import pytest
import torch
from PIL import Image

from lib.envs.gym.tiles import Tiles, nearest, sampled


@pytest.mark.parametrize("source", [7, 56, 64, 84, 97, 148, 210])
def test_the_nearest_pixels_are_those_that_pillow_picks(source):
    line = np.arange(source, dtype=np.uint8)[None].repeat(3, axis=0)
    resized = np.asarray(Image.fromarray(line).resize((64, 3), Image.NEAREST))
    np.testing.assert_array_equal(nearest(source).numpy(), resized[0])


@pytest.mark.parametrize("border", [0, 3])
def test_a_picture_is_its_tiles_side_by_side_within_a_black_border(border):
    # K = 5 tiles of 7 pixels, 2 rows of 3 cells; leading axes stay.
    tiles = torch.randint(1, 256, (5, 7, 7, 3), dtype=torch.uint8)
    cells = torch.randint(5, (11, 13, 2, 3))
    slow = torch.zeros(11, 13, 14 + 2 * border, 21 + 2 * border, 3, dtype=torch.uint8)
    for row in range(2):
        for column in range(3):
            top, left = border + 7 * row, border + 7 * column
            slow[:, :, top : top + 7, left : left + 7] = tiles[cells[:, :, row, column]]
    drawn = Tiles(tiles, lambda stored: stored, (2, 3), border)(cells)
    assert drawn.shape == (11, 13, 64, 64, 3)
    assert torch.equal(drawn, sampled(slow))


def test_nothing_is_read_back_while_drawing(no_host_reads):
    draw = Tiles(torch.zeros(5, 7, 7, 3, dtype=torch.uint8), torch.Tensor.long, (2, 3))
    with no_host_reads():
        draw(torch.zeros(4, 2, 3, dtype=torch.uint8))
