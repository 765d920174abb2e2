import numpy as np
import pytest
import torch

from lib.envs.gym import minigrid
from lib.envs.gym.scene import GymScene


def scene() -> GymScene:
    return GymScene(minigrid.space((7, 7, 3), "pixels"), minigrid.drawer((7, 7)))


def test_a_frame_is_the_learners_picture_four_times_as_large():
    pose = np.random.default_rng(0).integers(3, size=147).astype(np.uint8)
    frame = scene().frame(pose)
    drawn = minigrid.drawer((7, 7))(torch.from_numpy(pose).view(7, 7, 3)).numpy()
    assert frame.shape == (256, 256, 3) and frame.dtype == np.uint8
    np.testing.assert_array_equal(frame[::4, ::4], drawn)
    np.testing.assert_array_equal(frame[3::4, 3::4], drawn)


def test_a_ghost_covers_half_and_one_that_is_not_finite_is_left_out():
    seen, imagined = np.zeros(147, np.uint8), np.tile((2, 5, 0), 49).astype(np.uint8)
    with scene() as ours:
        real, other = (ours.frame(pose).astype(int) for pose in (seen, imagined))
        mixed = ours.frame(seen, imagined)
        np.testing.assert_array_equal(mixed, (real + other) // 2)
        np.testing.assert_array_equal(ours.frame(seen, np.full(147, np.nan)), real)


def test_a_pose_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"pose \(5,\); an observation is \(147,\)"):
        scene().frame(np.zeros(5))
