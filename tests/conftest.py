"""Settings for every test: one thread, no network, no window."""

import os
import signal

# Before any import that reads them: small tensors lose time on a second thread, figures need no
# window, and W&B must never ask for the network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["WANDB_MODE"] = "offline"
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"

import pytest
import torch

# A shell's background jobs ignore Ctrl-C, and so would all that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def one_thread():
    """Undoes whatever a test did to the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """An outputs/ folder of the test's own for the command line."""
    from lib import cli

    folder = tmp_path / "outputs"
    folder.mkdir()
    monkeypatch.setattr(cli, "OUTPUTS", folder)
    return folder


@pytest.fixture
def figures():
    """Closes every figure, and no style may have been changed."""
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


@pytest.fixture(scope="module")
def needs_gl():
    """Skips, with the line that installs OpenGL, where nothing can draw."""
    from lib.core.errors import UserError
    from lib.envs import gl

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(gl.CHOICE, "")
        patch.setenv(gl.DRIVER, "")
        patch.delenv(gl.DRIVER)
        try:
            gl.choose_gl()
        except UserError as error:
            pytest.skip(str(error))
        yield
