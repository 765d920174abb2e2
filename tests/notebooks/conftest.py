"""What tests of chapters share."""

import pytest


@pytest.fixture
def figures_are_kept(monkeypatch):
    """Elsewhere in the tests nothing is drawn into notebooks."""
    monkeypatch.delenv("MPLBACKEND", raising=False)
