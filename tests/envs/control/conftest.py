"""What the control tests share. They need the control extra and are not collected without it."""

from importlib.util import find_spec

import pytest

from lib.envs.control import bodies
from lib.envs.control.bodies import Body

missing = any(find_spec(name) is None for name in ("mujoco", "dm_control"))
collect_ignore_glob = ["test_*.py"] if missing else []


@pytest.fixture(scope="session")
def loaded() -> dict[str, Body]:
    return {domain: bodies.load(domain) for domain in bodies.DOMAINS}


@pytest.fixture(params=bodies.DOMAINS)
def body(request, loaded) -> Body:
    return loaded[request.param]
