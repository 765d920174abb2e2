"""The training loop at a pace that no machine's speed changes."""

import math

import pytest

from lib.runner import loop


@pytest.fixture(autouse=True)
def one_pace(monkeypatch):
    """Where the n-th update is, and how often is saved, depends on the settings alone."""
    monkeypatch.setattr(loop, "CHUNK_SECONDS", math.inf)
    monkeypatch.setattr(loop, "SAVE_SECONDS", math.inf)
