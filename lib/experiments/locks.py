"""Holds a run folder against a second process."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.core.errors import UserError
from lib.core.files import told_to_the_user
from lib.core.paths import shown
from lib.runner.contents import LAUNCH_LOCK, LOCK

LOCK_SECONDS = 5.0  # a killed run's kernel notices within a second or two


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Holds a run folder against a second launch, and waits out a kernel that is just dying.

    Raises:
        UserError: another process runs there.
    """
    with _lock(out / LAUNCH_LOCK, 0.0, out):
        with _lock(out / LOCK, LOCK_SECONDS, out):  # the training loop's, given back at once
            pass
        yield


def is_busy(out: Path) -> bool:
    """Whether a process is running in this folder at the moment."""
    try:
        for name in (LAUNCH_LOCK, LOCK):
            if (out / name).exists():
                with _lock(out / name, 0.0, out):
                    pass
    except UserError:
        return True
    return False


@contextmanager
def _lock(path: Path, patience: float, out: Path) -> Iterator[None]:
    with told_to_the_user(path):
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
    try:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise UserError(
                        f"'{shown(out)}' is in use by another process; wait for it, stop it there "
                        f"with Ctrl-C, or choose another folder with '--out'"
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)
