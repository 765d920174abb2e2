from types import SimpleNamespace

import numpy as np
import pytest

from lib.core.errors import UserError
from lib.envs.grid.domain import build
from lib.envs.grid.env import observe
from lib.envs.grid.scene import GridScene

CELLS, TILE = 13, 8
EDGE = 4  # pixels on the left and right of a picture 112 wide: (112 - 13 * 8) / 2


@pytest.fixture(scope="module")
def domain():
    settings = {"domain": "grid", "size": CELLS, "episode_length": 50, "reward": "dense"}
    env = SimpleNamespace(**settings, put_blocks=True, action_repeat=1)
    return build(env, ["room-1", "room-2"])


@pytest.fixture(scope="module")
def scene(domain):
    with GridScene(domain, 1, size=(CELLS * TILE, 112)) as scene:
        yield scene


def at(x: float, y: float, heading: float) -> np.ndarray:
    return observe(np.array(x), np.array(y), np.array(heading), CELLS)


def cell(frame: np.ndarray, x: int, y: int) -> np.ndarray:
    """(TILE, TILE, 3) of a picture, as signed numbers."""
    left = EDGE + x * TILE
    return frame[y * TILE : (y + 1) * TILE, left : left + TILE].astype(int)


def reddish(tile: np.ndarray) -> int:
    return int((tile[..., 0] > tile[..., 2] + 60).sum())


def bluish(tile: np.ndarray) -> int:
    return int((tile[..., 2] > tile[..., 0] + 60).sum())


def test_the_agent_is_drawn_where_the_observation_says(scene):
    frame = scene.frame(at(2, 5, 0))
    assert frame.shape == (CELLS * TILE, 112, 3) and frame.dtype == np.uint8
    assert reddish(cell(frame, 2, 5)) > 5
    assert reddish(frame.astype(int)) == reddish(cell(frame, 2, 5))  # and nowhere else


def test_the_picture_is_minigrids_own_with_an_edge_like_its_wall(scene, domain):
    env = domain.make_real(1, render_mode="rgb_array", tile_size=TILE)
    env.reset(seed=3)
    env.put_agent((7, 9), 2)
    frame = scene.frame(at(7, 9, 2))
    assert (frame[:, EDGE:-EDGE] == env.render()).all()
    assert (frame[:, :EDGE] == 100).all() and (frame[:, -EDGE:] == 100).all()


def test_the_heading_turns_the_agent(scene):
    # to the right the triangle's base is on the left of the cell, downwards it is on top
    right, down = (cell(scene.frame(at(2, 5, turn)), 2, 5)[..., 0] for turn in (0, 1))
    assert right[:, :4].sum() > right[:, 4:].sum()
    assert down[:4].sum() > down[4:].sum()


def test_a_ghost_is_a_second_agent_in_blue(scene):
    alone, both = scene.frame(at(2, 5, 0)), scene.frame(at(2, 5, 0), at(4, 5, 1))
    assert bluish(cell(both, 4, 5)) > 5
    changed = np.argwhere((alone != both).any(-1))
    assert (changed[:, 0] // TILE == 5).all() and ((changed[:, 1] - EDGE) // TILE == 4).all()


def test_a_ghost_is_rounded_to_the_nearest_cell_and_heading(scene):
    exact = scene.frame(at(2, 5, 0), at(4, 5, 1))
    assert (scene.frame(at(2, 5, 0), at(4.4, 4.6, 1.3)) == exact).all()


def test_a_ghost_in_the_same_place_hides_behind_the_agent(scene):
    alone = scene.frame(at(2, 5, 0)).astype(int)
    both = scene.frame(at(2, 5, 0), at(2, 5, 0)).astype(int)
    assert bluish(both) == bluish(alone)
    assert np.abs(both - alone).max() < 80  # only the softened outline


def test_a_ghost_that_looks_another_way_is_seen_beside_the_agent(scene):
    alone, both = scene.frame(at(2, 5, 0)), scene.frame(at(2, 5, 0), at(2, 5, 2))
    assert bluish(cell(both, 2, 5)) > bluish(cell(alone, 2, 5))
    assert reddish(cell(both, 2, 5)) >= reddish(cell(alone, 2, 5)) - 2


def test_a_ghost_may_stand_in_a_wall_or_run_out_of_the_grid(scene):
    assert bluish(cell(scene.frame(at(2, 5, 0), at(6, 2, 0)), 6, 2)) > 5
    outside = np.array([40.0, -40.0, 0.0])
    assert bluish(cell(scene.frame(at(2, 5, 0), outside), CELLS - 1, 0)) > 5


def test_a_ghost_that_is_not_finite_is_left_out(scene):
    alone = scene.frame(at(2, 5, 0))
    assert (scene.frame(at(2, 5, 0), np.array([np.nan, 0, 0])) == alone).all()


def test_an_observation_that_is_not_finite_or_too_long_is_refused(scene):
    with pytest.raises(UserError, match="not finite"):
        scene.frame(np.array([0, np.inf, 0]))
    with pytest.raises(ValueError, match=r"pose \(4,\)"):
        scene.frame(np.zeros(4))


def test_pictures_keep_their_size_whatever_the_grids(domain):
    with GridScene(domain, 0) as scene:
        assert scene.frame(at(1, 1, 0)).shape == (384, 384, 3)
    with pytest.raises(UserError, match="12x40 pixels is too small for 13x13 cells"):
        GridScene(domain, 0, size=(12, 40))


def test_a_domain_makes_its_own_scene(domain):
    scene = domain.scene(1)
    assert isinstance(scene, GridScene)
    scene.close()
    scene.close()
