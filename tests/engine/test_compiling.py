"""When compiling is chosen, what it must not change, and how work goes on where it fails."""

import pytest
import torch

from lib.core.errors import UserError
from lib.engine import compiling
from lib.engine.compiling import PAYS_FROM, chosen, compiled, has_compiler
from lib.engine.seeds import gradients

quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, while it compiles
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def compiler(monkeypatch):
    """Says whether there is a compiler."""
    return lambda there: monkeypatch.setattr(compiling, "has_compiler", lambda: there)


def test_always_compiles_wherever_it_can(compiler):
    compiler(True)
    assert chosen("always", CPU, updates=1) and chosen("always", CUDA, updates=1)


def test_always_without_a_compiler_is_refused(compiler):
    compiler(False)
    with pytest.raises(UserError, match="engine.compile 'always' needs a C.. compiler.*'never'"):
        chosen("always", CPU, updates=PAYS_FROM)


def test_never_never_compiles(compiler):
    compiler(True)
    assert not chosen("never", CPU, updates=PAYS_FROM)


def test_large_networks_are_compiled_on_a_gpu_alone_unless_it_is_asked_for(compiler):
    for there in (True, False):
        compiler(there)
        assert compiling.wanted_on_gpu("auto", CUDA) == there
        assert not compiling.wanted_on_gpu("auto", CPU)
        assert not compiling.wanted_on_gpu("never", CUDA)
    compiler(True)
    assert compiling.wanted_on_gpu("always", CPU)


def test_auto_compiles_runs_that_are_long_enough(compiler):
    compiler(True)
    assert not chosen("auto", CPU, updates=PAYS_FROM - 1)
    assert chosen("auto", CPU, updates=PAYS_FROM)


def test_auto_goes_without_where_there_is_no_compiler(compiler):
    compiler(False)
    assert not chosen("auto", CPU, updates=PAYS_FROM)


def test_auto_leaves_a_cuda_device_to_recorded_graphs(compiler):
    compiler(True)
    assert not chosen("auto", CUDA, updates=PAYS_FROM)


def test_a_compiler_is_looked_for_under_the_name_in_cxx(monkeypatch):
    found = {"my-compiler": "/opt/my-compiler"}
    monkeypatch.setattr(compiling.shutil, "which", found.get)
    monkeypatch.delenv("CXX", raising=False)
    assert not has_compiler()
    monkeypatch.setenv("CXX", "my-compiler")
    assert has_compiler()


@quiet
def test_what_cannot_be_compiled_goes_on_with_one_warning():
    def branches(x):
        return 2 * x if x.sum() > 0 else x  # what is compiled whole cannot ask for a value

    fn = compiled(branches, "part")
    x = torch.arange(3.0)
    with pytest.warns(UserWarning, match="goes on slower without.*engine.compile never"):
        assert fn(x).tolist() == [0.0, 2.0, 4.0]
    assert fn(x).tolist() == [0.0, 2.0, 4.0]  # a second warning would be an error


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler here")
@quiet
def test_compiled_gradients_of_two_lanes_equal_the_eager_ones():
    def loss(trained, x):
        value = torch.tanh(x @ trained["w"]).square().mean()
        return value, value.detach()

    draws = torch.Generator().manual_seed(0)
    trained, x = {"w": torch.randn(2, 5, 3, generator=draws)}, torch.randn(2, 7, 5, generator=draws)
    fn = gradients(loss, 2, 0.01, pure=True)
    fast, eager = compiled(fn, "part")(trained, x), fn(trained, x)
    torch.testing.assert_close(fast, eager)
