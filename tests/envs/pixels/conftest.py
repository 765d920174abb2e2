"""What the tests of dm_control's pixels share. Without mujoco and dm_control they skip."""

import numpy as np
import pytest

from lib.envs.pixels.copies import Plan
from lib.envs.pixels.tasks import TASKS


def plan(name: str = "walker_run", **changes) -> Plan:
    """Small and quick, unless changed."""
    return Plan(TASKS[name], **{"size": 24, "quality": "fast", **changes})


def draws(count: int, size: int, seed: int = 0) -> np.ndarray:
    """(count, size) float32 actions."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, size)).astype(np.float32)


@pytest.fixture(scope="module")
def dm_control(needs_gl):
    """The package, imported once an OpenGL has been chosen."""
    pytest.importorskip("mujoco", reason="needs mujoco and dm_control")
    return pytest.importorskip("dm_control.suite", reason="needs mujoco and dm_control")
