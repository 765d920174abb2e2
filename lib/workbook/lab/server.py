"""Opens JupyterLab with the workbook in it: `make lab`, or `python -m lib.workbook.lab [CHAPTER]`.

Whatever Jupyter is set up to do elsewhere on the machine, here notebooks run in this interpreter,
in the repository's root, and a chapter's `.py` opens as the notebook that it is. The settings are
arguments and environment variables of this one process; `labconfig/` beside this file holds
those of the pages. One's own settings of JupyterLab still win over them.
"""

import logging
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jupyter_server.serverapp import ServerApp
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyterlab.labapp import LabApp

from lib.core.errors import UserError, unknown
from lib.core.kernel import encryption
from lib.core.paths import NOTEBOOKS, OUTPUTS, ROOT

START = "00_start_here"
SETTINGS = Path(__file__).parent
TABS = OUTPUTS / ".lab"  # which tabs are open; a reader's other JupyterLabs keep their own


class FromTheRoot(AsyncMappingKernelManager):
    """Starts kernels where `python -m lib` and the builder of chapters work, too."""

    def cwd_for_path(self, path: str, **kwargs: Any) -> str:
        return self.root_dir


class Server(ServerApp):
    """Says where the workbook is once it can be opened, and nothing else."""

    def start_app(self) -> None:
        level = self.log.level
        self.log.setLevel(logging.CRITICAL + 1)  # Jupyter's own greeting is logged as critical
        super().start_app()
        self.log.setLevel(level)
        print(welcome(self.public_url, self.port, self.open_browser), flush=True)


class Workbook(LabApp):
    serverapp_class = Server


def welcome(url: str, port: int, opened: bool) -> str:
    """Returns what a reader has to know, with or without a browser on this machine."""
    where = "The workbook opens in your browser; if not, it is at"
    if not opened:
        where = "The workbook is ready. No browser was opened; the address is"
    lines = ["", where, "", f"    {url}", ""]
    if not opened:
        lines += [f"From another computer, first: ssh -L {port}:localhost:{port} THIS_MACHINE", ""]
    return "\n".join([*lines, "Ctrl-C ends it."])


def arguments(chapter: str = START, root: Path = ROOT) -> list[str]:
    """Returns JupyterLab's command line.

    Raises:
        UserError: no such chapter.
    """
    folder = root / NOTEBOOKS.name
    there = sorted(path.stem for path in folder.glob("*.py"))
    if Path(chapter).stem not in there:
        raise unknown("chapter", chapter, there, f"looked in {folder}")
    options = [
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{NOTEBOOKS.name}/{Path(chapter).stem}.ipynb",
        "--ServerApp.kernel_manager_class=lib.workbook.lab.server.FromTheRoot",
        "--KernelSpecManager.allowed_kernelspecs={'python3'}",
        f"--MappingKernelManager.transport_encryption={encryption()}",
        f"--LabApp.workspaces_dir={TABS}",
        "--Application.log_level=ERROR",
    ]
    if getattr(os, "geteuid", lambda: 1)() == 0:
        options.append("--allow-root")  # in containers; the server only answers this machine
    if not has_screen():
        options.append("--no-browser")
    return options


def has_screen() -> bool:
    """Tells whether there is a window to open a browser in; browsers of terminals do not count."""
    windows = sys.platform in ("darwin", "win32")
    if not (windows or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def environment() -> dict[str, str]:
    """Returns where Jupyter looks first: for kernels beside this interpreter, for settings here."""
    first = {
        "JUPYTER_PATH": Path(sys.prefix) / "share" / "jupyter",
        "JUPYTER_CONFIG_PATH": SETTINGS,
    }
    return {
        name: os.pathsep.join(filter(None, [str(path), os.environ.get(name, "")]))
        for name, path in first.items()
    }


def main(given: Sequence[str] | None = None) -> int:
    """Opens the lab; a first word that is no option names a chapter, all else is JupyterLab's."""
    given = list(sys.argv[1:] if given is None else given)
    chapter = given.pop(0) if given and not given[0].startswith("-") else START
    try:
        options = arguments(chapter)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    serve([*options, *given])
    return 0


def serve(options: Sequence[str]) -> None:
    """Runs JupyterLab until it is ended."""
    os.environ.update(environment())
    Workbook.launch_instance(argv=list(options))
