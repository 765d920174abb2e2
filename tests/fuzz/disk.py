"""A disk that fails at a chosen moment: what Python asks of the system goes through it."""

import builtins
import errno
import io
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MAKES = ("create", "mkdir", "link", "symlink")
CHANGES = (*MAKES, "replace", "unlink")
# What an error stops for as long as it lasts.
STOPS = {
    errno.ENOSPC: (*MAKES, "write", "fsync"),
    errno.EDQUOT: (*MAKES, "write", "fsync"),
    errno.EFBIG: ("write",),
    errno.EROFS: CHANGES,
    errno.EACCES: CHANGES,
    errno.EIO: (*CHANGES, "write", "fsync", "read"),
    errno.EMFILE: ("create", "read"),
    errno.ENAMETOOLONG: ("create", "mkdir"),
    errno.ENOENT: CHANGES,  # the folder was removed, which lasts by itself
}


@dataclass(frozen=True, order=True)
class Moment:
    """The n-th time that something is done with a file, counted from 0."""

    call: str
    path: str  # below the disk's root
    nth: int


@dataclass(frozen=True)
class Fault:
    """What happens at a moment: an error, once or from then on."""

    at: Moment
    error: int
    lasts: bool

    def __str__(self) -> str:
        name, how = errno.errorcode[self.error], "from then on" if self.lasts else "once"
        return f"{self.at.call} {self.at.path} #{self.at.nth}: {name} {how}"


class Disk:
    """Watches all that this thread does below a folder, and lets a fault happen.

    Args:
        root: the folder.
        fault: what happens; None only watches.
        lost: folder that goes where the error is ENOENT.
    """

    def __init__(self, root: Path, fault: Fault | None = None, lost: Path | None = None):
        self.root, self.fault, self.lost = root, fault, lost
        self.seen: Counter[tuple[str, str]] = Counter()
        self.moments: list[Moment] = []
        self.happened = False
        self.patch = pytest.MonkeyPatch()

    def __enter__(self) -> "Disk":
        opened = builtins.open
        self.patch.setattr(builtins, "open", self._opening(opened))
        self.patch.setattr(io, "open", self._opening(opened))
        self.patch.setattr(os, "open", self._opening_descriptor(os.open))
        self.patch.setattr(os, "fsync", self._syncing(os.fsync))
        for call in ("replace", "link", "symlink"):
            self.patch.setattr(os, call, self._calling(call, getattr(os, call), 1))
        for call in ("mkdir", "unlink"):
            self.patch.setattr(os, call, self._calling(call, getattr(os, call), 0))
        # What finds nothing to do does not come as far as the disk.
        self.idle = {"mkdir": os.path.lexists, "unlink": lambda path: not os.path.lexists(path)}
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()

    def meets(self, call: str, path: Any) -> None:
        """Notes something that is done with a file, or refuses it."""
        name = self._below(path)
        if name is None or threading.current_thread() is not threading.main_thread():
            return
        moment = Moment(call, name, self.seen[call, name])
        self.seen[call, name] += 1
        self.moments.append(moment)
        if self.fault is None:
            return
        now = moment == self.fault.at
        if now and self.fault.error == errno.ENOENT and self.lost:
            self.happened = True
            self.patch.undo()
            shutil.rmtree(self.lost)
        elif now or (self.happened and self.fault.lasts and call in STOPS[self.fault.error]):
            self.happened = True
            raise OSError(self.fault.error, os.strerror(self.fault.error), str(path))

    def _below(self, path: Any) -> str | None:
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        whole = os.path.abspath(os.fsdecode(path))
        return os.path.relpath(whole, self.root) if whole.startswith(f"{self.root}/") else None

    def _opening(self, original: Callable) -> Callable:
        def opened(path: Any, mode: str = "r", *args: Any, **how: Any) -> Any:
            writes = not set(mode).isdisjoint("wax+")
            self.meets("create" if writes else "read", path)
            file = original(path, mode, *args, **how)
            return _Written(self, file, path) if writes and self._below(path) else file

        return opened

    def _opening_descriptor(self, original: Callable) -> Callable:
        def opened(path: Any, flags: int, *args: Any, **how: Any) -> int:
            if not how.get("dir_fd"):
                self.meets("create" if flags & (os.O_CREAT | os.O_RDWR) else "read", path)
            return original(path, flags, *args, **how)

        return opened

    def _syncing(self, original: Callable) -> Callable:
        def synced(descriptor: int) -> None:
            self.meets("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            original(descriptor)

        return synced

    def _calling(self, call: str, original: Callable, target: int) -> Callable:
        def called(*args: Any, **how: Any) -> Any:
            idle = call in self.idle and self.idle[call](args[target])
            if not idle and not any(
                how.get(name) for name in ("dir_fd", "src_dir_fd", "dst_dir_fd")
            ):
                self.meets(call, args[target])
            return original(*args, **how)

        return called


class _Written:
    """A file whose writes may stop half way."""

    def __init__(self, disk: Disk, file: Any, path: Any):
        self._disk, self._file, self._path = disk, file, path

    def write(self, data: Any) -> int:
        try:
            self._disk.meets("write", self._path)
        except OSError as error:
            self._file.write(data[: len(data) // 2])
            raise OSError(error.errno, error.strerror) from None  # which names no file
        return self._file.write(data)

    def __enter__(self) -> "_Written":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
