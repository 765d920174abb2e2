import math

import numpy as np
import pytest
import torch

from lib.envs.pendulum.drawing import BOB, GHOST, GROUND, PendulumScene, pictures
from lib.envs.pendulum.tasks import TASKS


def test_the_bob_is_where_the_angle_says():
    angle = torch.tensor([0.0, math.pi / 2, math.pi, -math.pi / 2])
    drawn = pictures(angle, TASKS["source-a"], 64)  # 1 m is half of half a picture, 16 pixels
    assert drawn.shape == (4, 64, 64, 3) and drawn.dtype == torch.uint8
    for picture, (row, column) in zip(drawn, [(16, 32), (32, 48), (48, 32), (32, 16)], strict=True):
        assert picture[row, column].tolist() == list(BOB)
        assert picture[2, 2].tolist() == list(GROUND)


def test_tasks_look_different_from_each_other():
    angle = torch.tensor([2.0])
    first, second, third = (pictures(angle, task, 32).float() for task in TASKS.values())
    for one, other in ((first, second), (first, third), (second, third)):
        assert (one - other).abs().mean() > 0.5


def test_a_viewer_sees_a_ghost_beside_the_pendulum():
    with PendulumScene(TASKS["target"]) as scene:
        plain = scene.frame(np.array([0.5]))
        both = scene.frame(np.array([0.5]), np.array([-1.5]))
        assert plain.shape == (256, 256, 3) and plain.dtype == np.uint8
        changed = (plain.astype(float) != both).any(-1)
        assert 0.01 < changed.mean() < 0.2
        half = (np.array(GROUND) + GHOST) / 2
        assert (np.abs(both[changed] - half).max(-1) <= 1).mean() > 0.5
        assert np.array_equal(scene.frame(np.array([0.5]), np.array([np.nan])), plain)
        with pytest.raises(ValueError, match=r"pose \(3,\)"):
            scene.frame(np.zeros(3))
