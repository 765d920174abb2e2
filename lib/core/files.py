"""Writes files so that a crash leaves the old one or the new one, never half of each."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lib.core.storage import told_to_the_user


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Replaces a file so that a crash at any moment leaves the old content or the new one.

    Raises:
        StorageError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    data = data.encode() if isinstance(data, str) else data
    with replacing(Path(path), len(data)) as partial, open(partial, "wb") as file:
        file.write(data)


@contextmanager
def replacing(path: Path, needed: int = 0, forced: bool = True) -> Iterator[Path]:
    """Gives a hidden file beside `path` to be filled; it takes the name once it is on the disk.

    The name changes in one step, and then the folder itself is forced to the disk.

    Args:
        needed: bytes that will be written, if known.
        forced: wait for the disk. Left out for what is written often and can be lost: still nobody
            reads half of it.

    Raises:
        StorageError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    partial = partial_path(path)
    with told_to_the_user(path, needed):
        try:
            yield partial
            if forced:
                sync(partial)
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        if forced:
            sync(path.parent)


def open_regular(path: Path) -> BinaryIO:
    """Opens a file to be read, unless it is a device or a pipe, which might never end.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    return open(path, "rb", opener=_regular)


def _regular(name: str, flags: int) -> int:
    wait = getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody writes to would be waited for
    descriptor = os.open(name, flags | wait)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file", str(name))


def partial_path(path: Path) -> Path:
    """Returns where a file is prepared. One name per target, so a killed run leaves at most one."""
    return path.with_name(f".{path.name}.partial")


def sync(path: Path) -> None:
    """Forces a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def run_folder(path: Path) -> Path:
    """Returns the run folder of a file: its own, or the one above `checkpoints` or `videos`."""
    return path.parent.parent if path.parent.name in ("checkpoints", "videos") else path.parent
