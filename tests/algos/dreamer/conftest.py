"""What several tests of the Dreamers ask for."""

import pytest
import torch
from torch import Tensor

from tests.oracle.ready import precision


@pytest.fixture
def double(monkeypatch):
    """Double precision, also where the code asks for single."""
    monkeypatch.setattr(Tensor, "float", lambda self: self.to(torch.get_default_dtype()))
    with precision(torch.float64):
        yield
