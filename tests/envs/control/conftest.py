"""What the control tests share. Without mujoco and dm_control most skip themselves."""

import pytest

from lib.envs.control import bodies
from lib.envs.control.bodies import Body


@pytest.fixture(scope="session")
def loaded() -> dict[str, Body]:
    return {domain: bodies.load(domain) for domain in bodies.DOMAINS}


@pytest.fixture(params=bodies.DOMAINS)
def body(request, loaded) -> Body:
    return loaded[request.param]
