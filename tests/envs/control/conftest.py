"""What the control tests share. Those that need the control extra skip themselves without it."""

import pytest

from lib.envs.control import bodies
from lib.envs.control.bodies import Body


@pytest.fixture(scope="session")
def loaded() -> dict[str, Body]:
    return {domain: bodies.load(domain) for domain in bodies.DOMAINS}


@pytest.fixture(params=bodies.DOMAINS)
def body(request, loaded) -> Body:
    return loaded[request.param]
