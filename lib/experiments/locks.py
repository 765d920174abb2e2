"""Holds a run folder against a second process."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.core.errors import UserError
from lib.core.paths import shown
from lib.runner.contents import LAUNCH_LOCK, LOCK

LOCK_SECONDS = 5.0  # a killed run's kernel notices within a second or two


class InUse(UserError):
    """Another process runs in a folder."""


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Holds a run folder against a second launch, and waits out a kernel that is just dying.

    Raises:
        InUse: another process runs there.
        OSError: the folder cannot be written.
    """
    with _lock(out / LAUNCH_LOCK, out):
        with _lock(out / LOCK, out, LOCK_SECONDS):  # the training loop's, given back at once
            pass
        yield


def is_busy(out: Path) -> bool:
    """Whether a process is running in this folder at the moment."""
    for name in (LAUNCH_LOCK, LOCK):
        try:
            with _lock(out / name, out, flags=os.O_RDONLY):  # also where nothing can be written
                pass
        except InUse:
            return True
        except OSError:  # not there, or nobody's that we could ask
            continue
    return False


@contextmanager
def _lock(
    path: Path, out: Path, patience: float = 0.0, flags: int = os.O_CREAT | os.O_RDWR
) -> Iterator[None]:
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)  # a pipe would wait
    try:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise InUse(
                        f"'{shown(out)}' is in use by another process; wait for it, stop it there "
                        f"with Ctrl-C, or choose another folder with '--out'"
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)
