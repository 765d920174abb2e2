import os
import sys
from pathlib import Path

import pytest

from lib.core.errors import UserError
from lib.core.paths import ROOT
from lib.workbook.lab import server


@pytest.fixture(autouse=True)
def _no_screen(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "JUPYTER_PATH", "JUPYTER_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")


def test_it_opens_at_the_start_or_at_a_chapter():
    def opened(*chapter):
        (found,) = (o for o in server.arguments(*chapter) if o.startswith("--LabApp.default_url="))
        return found.split("=")[1]

    assert opened() == "/lab/tree/notebooks/00_start_here.ipynb"
    assert opened("02_world_models") == "/lab/tree/notebooks/02_world_models.ipynb"
    assert opened("notebooks/02_world_models.py") == "/lab/tree/notebooks/02_world_models.ipynb"


def test_an_unknown_chapter_is_guessed(capsys):
    with pytest.raises(UserError, match="unknown chapter '02_world'.*mean '02_world_models'"):
        server.arguments("02_world")
    assert server.main(["02_world"]) == 1
    assert "unknown chapter" in capsys.readouterr().err


def test_other_arguments_are_jupyters(monkeypatch):
    served = []
    monkeypatch.setattr(server, "serve", served.extend)
    assert server.main(["02_world_models", "--port", "9000"]) == 0
    assert served[-2:] == ["--port", "9000"]
    assert server.main(["--port", "9000"]) == 0
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in served


def test_without_a_screen_no_browser_is_started(monkeypatch):
    assert not server.has_screen() and "--no-browser" in server.arguments()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(server.webbrowser, "get", lambda: None)
    assert server.has_screen() and "--no-browser" not in server.arguments()

    def none_there():
        raise server.webbrowser.Error

    monkeypatch.setattr(server.webbrowser, "get", none_there)
    assert not server.has_screen()


def test_the_address_is_said_and_how_to_reach_it_from_elsewhere():
    address = "http://localhost:9000/lab/tree/x.ipynb?token=abc"
    said = server.welcome(address, 9000, opened=False)
    assert f"\n    {address}\n" in said and "ssh -L 9000:localhost:9000" in said
    assert "ssh" not in server.welcome(address, 9000, opened=True)


def test_kernels_and_settings_of_the_workbook_come_first(monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "/of/the/reader")
    found = server.environment()
    kernels, *others = found["JUPYTER_PATH"].split(os.pathsep)
    assert others == ["/of/the/reader"]
    assert (Path(kernels) / "kernels" / "python3" / "kernel.json").is_file()
    assert found["JUPYTER_CONFIG_PATH"] == str(ROOT / "lib" / "workbook" / "lab")


def test_nothing_is_looked_up_and_a_py_opens_as_a_notebook(monkeypatch):
    from jupyterlab_server.config import get_page_config  # noqa: F401  the package is there
    from jupyterlab_server.settings_utils import _get_overrides

    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    found, error = _get_overrides("/nowhere")
    assert error == ""
    notices = found["@jupyterlab/apputils-extension:notification"]
    assert notices["fetchNews"] == "false" and notices["checkForUpdates"] is False
    viewers = found["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers == {"python": "Jupytext Notebook"}


def test_kernels_start_in_the_root():
    manager = server.FromTheRoot(root_dir=str(ROOT))
    assert manager.cwd_for_path("notebooks/00_start_here.ipynb") == str(ROOT)
