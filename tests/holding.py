"""Holds a training loop where a test wants it, so that no test has to be quick or lucky."""

import time
from pathlib import Path
from typing import Any

from lib.runner.progress import Progress


def hold(folder: Path) -> None:
    """Makes training wait while there is a file `hold` in the folder.

    The file names the environment steps after which to wait. Whoever waits leaves `held` beside it.
    """
    asked, original = folder / "hold", Progress.show
    if not asked.exists():
        return
    after = int(asked.read_text())

    def show(self: Progress, phase: str, **state: Any) -> None:
        original(self, phase, **state)
        while asked.exists() and state["env_steps"] >= after:
            (folder / "held").touch()
            time.sleep(0.02)

    Progress.show = show
