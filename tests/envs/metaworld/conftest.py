"""Meta-World is an extra: where it is missing, tests that simulate skip."""

import importlib.util

import pytest

from lib.envs.metaworld.simulation import INSTALL, PACKAGE


@pytest.fixture(scope="session")
def metaworld():
    """Skips, with the line that installs Meta-World, where it is missing."""
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"{PACKAGE} not installed: {INSTALL}")
