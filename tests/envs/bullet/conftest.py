"""PyBullet is an extra: where it is missing, tests that simulate skip."""

import importlib.util

import pytest

from lib.envs.bullet.simulation import PACKAGES


@pytest.fixture(scope="session")
def bullet():
    """Skips, with the line that installs PyBullet, where it is missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install -e '.[pybullet]'")
