import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs mujoco and dm_control")
pytest.importorskip("dm_control", reason="needs mujoco and dm_control")

from lib.core.errors import UserError
from lib.core.paths import ROOT
from lib.envs import gl
from lib.envs.control import bodies
from lib.envs.control.scene import Scene

ROOT_X = {"cheetah": 0, "walker": 1}
SIZE = (98, 134)


@pytest.fixture(scope="module", params=["cheetah", "walker"])
def scene(request, needs_gl):
    with Scene(request.param, SIZE) as scene:
        yield scene


def stance(scene: Scene, x: float = 0.0) -> np.ndarray:
    pose = scene.model.qpos0.copy()
    pose[ROOT_X[scene.domain]] = x
    return pose


def brown(frame: np.ndarray) -> np.ndarray:
    """(height, width) where the real body is seen; sky and floor are bluish."""
    red, _, blue = np.moveaxis(frame.astype(int), -1, 0)
    return red > blue + 20


def blue(frame: np.ndarray) -> np.ndarray:
    """(height, width) where the ghost is seen."""
    red, _, blue = np.moveaxis(frame.astype(int), -1, 0)
    return blue > red + 60


def test_the_body_stands_in_the_middle_of_a_picture_of_the_asked_size(scene):
    frame = scene.frame(stance(scene))
    assert frame.shape == (*SIZE, 3) and frame.dtype == np.uint8
    rows, columns = np.nonzero(brown(frame))
    assert len(rows) > 100
    assert not brown(frame)[[0, -1]].any() and not brown(frame)[:, [0, -1]].any()
    assert abs(columns.mean() / SIZE[1] - 0.5) < 0.1


@pytest.mark.parametrize("x", [-300.0, 30.0])
def test_the_camera_follows_the_body_and_the_floor_has_no_end(scene, x):
    here, there = scene.frame(stance(scene)), scene.frame(stance(scene, x))
    assert (brown(here) == brown(there)).mean() > 0.995
    assert np.abs(here.mean(1) - there.mean(1)).max() < 12  # each row: sky above, floor below


def test_a_ghost_in_the_same_pose_hides_inside_the_body(scene):
    pose = stance(scene, 2.0)
    assert not blue(scene.frame(pose, pose)).any()


def test_a_ghost_elsewhere_is_blue_and_leaves_the_body_as_it_was(scene):
    pose = stance(scene)
    alone, both = scene.frame(pose), scene.frame(pose, stance(scene, 0.5))
    assert blue(both).sum() > 50
    changed = (alone != both).any(-1)
    assert blue(both)[changed].mean() > 0.8
    assert brown(both).sum() > 0.5 * brown(alone).sum()


def test_a_ghost_is_translucent(scene):
    frame = scene.frame(stance(scene), stance(scene, 0.5))
    # Its own colour has no red. Half of the sky's 226 or the floor's 186 shows through, or half
    # of that where two of its surfaces lie one behind the other.
    assert 40 < np.median(frame[blue(frame)][:, 0]) < 115


def test_a_ghost_does_not_stay_for_the_next_picture(scene):
    pose = stance(scene)
    alone = scene.frame(pose)
    scene.frame(pose, stance(scene, 0.5))
    assert (scene.frame(pose) == alone).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_ghost_that_is_not_finite_is_left_out(scene, value):
    pose = stance(scene)
    ghost = pose.copy()
    ghost[-1] = value
    assert (scene.frame(pose, ghost) == scene.frame(pose)).all()


def test_a_ghost_far_away_does_no_harm(scene):
    pose = stance(scene)
    assert (scene.frame(pose, stance(scene, 1e9)) == scene.frame(pose)).all()


def test_a_pose_that_is_not_finite_is_refused(scene):
    with pytest.raises(UserError, match=f"pose of the {scene.domain} is not finite"):
        scene.frame(stance(scene) * np.nan)


def test_another_number_of_joints_is_refused(scene):
    with pytest.raises(ValueError, match=r"pose \(5,\); the .* has \(9,\) joints"):
        scene.frame(np.zeros(5))


def test_pictures_are_arrays_of_their_own(scene):
    first = scene.frame(stance(scene))
    kept = first.copy()
    scene.frame(stance(scene), stance(scene, 0.5))
    assert (first == kept).all() and first.flags.c_contiguous


def test_scenes_do_not_draw_into_each_other(scene):
    pose = stance(scene)
    before = scene.frame(pose)
    with Scene("cheetah", (64, 48)) as other:
        assert other.frame(stance(other)).shape == (64, 48, 3)
        assert (scene.frame(pose) == before).all()
        other.frame(stance(other))
    assert (scene.frame(pose) == before).all()


def test_larger_pictures_than_the_models_own_buffer_can_be_drawn(needs_gl):
    with Scene("walker", (500, 700)) as scene:
        assert brown(scene.frame(stance(scene))).any()


def test_a_closed_scene_says_so_and_closing_again_is_nothing(needs_gl):
    scene = Scene("walker", (16, 16))
    scene.close()
    scene.close()
    with pytest.raises(UserError, match="closed"):
        scene.frame(stance(scene))


def test_a_scene_left_open_ends_with_python_without_a_word(needs_gl):
    program = (
        "from lib.envs.control.scene import Scene\n"
        "scene = Scene('walker', (16, 16))\n"
        "print(scene.frame(scene.model.qpos0).shape)"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "(16, 16, 3)\n"


def test_the_model_that_others_step_is_not_repainted(needs_gl):
    body = bodies.load("cheetah")
    before = body.model.geom_size.copy(), body.model.tex_data.copy()
    with Scene("cheetah", (16, 16)) as scene:
        assert scene.model is not body.model
    assert (body.model.geom_size == before[0]).all() and (body.model.tex_data == before[1]).all()


def test_where_nothing_can_draw_the_user_learns_what_to_install(monkeypatch):
    monkeypatch.setenv(gl.CHOICE, "")
    monkeypatch.setattr(gl, "fault", lambda name: "broken")
    with pytest.raises(UserError, match="apt-get install libegl1"):
        Scene("walker")


def test_an_unknown_body_and_an_empty_picture_are_refused(needs_gl):
    with pytest.raises(UserError, match="unknown control domain 'walkr'.*did you mean 'walker'"):
        Scene("walkr")
    with pytest.raises(UserError, match="0x16 pixels"):
        Scene("walker", (0, 16))
