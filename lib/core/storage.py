"""Says in one line what a disk or a folder refused, and how to go on once that is mended."""

import errno
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.core.errors import UserError, short

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
IN_THE_WAY = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)
TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)
LONGEST_PATH = 300  # characters of it in a message
NOT_THE_FILES = (*TOO_MANY_OPEN, errno.EIO)  # errors that say nothing about what a file holds
MORE_FILES = "let more files be open with 'ulimit -n 4096'"
MENDED_BY = {  # what is to be done about an error
    **dict.fromkeys(NO_ROOM, "free some space"),
    **dict.fromkeys(IN_THE_WAY, "move what is in its place away"),
    **dict.fromkeys(TOO_MANY_OPEN, MORE_FILES),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable"),
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "check the disk",
}
# Any of these makes a folder one that `resume` goes on with: a run, a comparison, several seeds.
RECORDS = ("config.yaml", "transfer.yaml", "seeds.yaml")
ERROR_IN_WORDS = re.compile(r"\[Errno (\d+)\] (.*?)(?:: '(.*?)')?(?: -> '.*')?$")


class StorageError(UserError):
    """Something could not be written or read; nothing that was written before is lost.

    Args:
        message: all of it, in one line.
        problem: the beginning of it, which says everything but how to go on.
    """

    def __init__(self, message: str, problem: str = ""):
        super().__init__(message)
        self.problem = problem


@contextmanager
def told_to_the_user(path: str | Path, needed: int = 0, doing: str = "write") -> Iterator[None]:
    """Turns whatever the system refuses into one line that says what to do.

    Args:
        path: the file that is being written.
        needed: bytes that the write asks for, if known.
        doing: "write", "read" or "use".

    Raises:
        StorageError: instead of any OSError.
    """
    try:
        yield
    except BrokenPipeError:  # whoever reads our output has gone, which is no matter of storage
        raise
    except OSError as error:
        raise explained(error, Path(path), needed, doing) from error


@contextmanager
def continued_in(folder: Path) -> Iterator[None]:
    """Does the same for a whole piece of work, and names what `resume` goes on with.

    Args:
        folder: of the work, whose parts may lie elsewhere.

    Raises:
        StorageError: instead of any OSError.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _said(_problem(error, _path_in(error) or folder), folder) from error
    except StorageError as error:
        if not error.problem:
            raise
        raise _said(error.problem, folder) from error.__cause__


def explained(
    error: OSError, path: Path | None = None, needed: int = 0, doing: str = "use"
) -> StorageError:
    """The line about an error.

    Args:
        path: the file in question; left out, the one that the error names.
        needed: bytes that a write asks for, if known.
        doing: what was done to it.
    """
    path = path or _path_in(error)
    return _said(_problem(error, path, needed, doing), path and _home_of(path))


def told_at_the_end(error: OSError) -> StorageError:
    """The line about an error that ends a command, which can be given again."""
    if error.filename is None and not _is_somewhere():
        return StorageError("the folder that you are in has been removed; change to another one")
    return StorageError(f"{_problem(error, _path_in(error))} and give the same command again")


def from_words(text: str) -> OSError | None:
    """The error that Python printed so in another process; None where it is none of these."""
    found = ERROR_IN_WORDS.search(text)
    return found and OSError(int(found[1]), found[2], found[3])


def mended_by(text: str) -> str:
    """What mends the error that Python printed so; nothing where that is not known."""
    error = from_words(text)
    if error is None:
        return MORE_FILES if os.strerror(errno.EMFILE) in text else ""
    home = os.path.expanduser("~")
    if error.errno in TOO_MANY_OPEN:  # wherever the file lies
        return MORE_FILES
    if error.filename and os.path.commonpath([error.filename, home]) == home:
        return f"set HOME (now '{home}') to a folder that can be written"
    return MENDED_BY.get(error.errno, "see to that")


@contextmanager
def holding_nothing() -> Iterator[None]:
    """Passes over a file that is not there or cannot be understood, but not over a failing disk.

    Raises:
        OSError: the file may well be there and whole.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NOT_THE_FILES:
            raise
    except (ValueError, RecursionError, UserError):
        pass


def how_to_go_on(folder: Path | None) -> str:
    """What to do once a mishap is mended: go on with what a folder holds, or begin again."""
    if folder and any(os.path.isfile(folder / name) for name in RECORDS):
        return f"continue with 'python -m lib resume {shlex.quote(str(folder))}'"
    return "give the command that started it again"


def _said(problem: str, folder: Path | None) -> StorageError:
    return StorageError(f"{problem} and {how_to_go_on(folder)}", problem)


def _problem(error: OSError, path: Path | None, needed: int = 0, doing: str = "use") -> str:
    """What was refused, and what mends it."""
    what = short(str(path), LONGEST_PATH) if path else "a file"
    number = error.errno or (errno.ENOENT if isinstance(error, FileNotFoundError) else 0)
    if number in NO_ROOM:
        return (
            f"disk full: {what} needs {_lacking(number, path, needed)}; "
            f"what was already written is untouched; {MENDED_BY[number]}"
        )
    why = " ".join(str(error.strerror or error).split())
    mended = MENDED_BY.get(number, "see to that")
    if number == errno.ENOENT and path and (gone := _missing(path)):
        why, mended = f"there is no folder '{gone}'", "put it back"
    elif number in IN_THE_WAY and path and os.path.islink(path):
        why = f"it is a link to '{os.readlink(path)}'"
    elsewhere = "" if number in TOO_MANY_OPEN else "choose another folder with '--out', or "
    return f"cannot {doing} {what}: {why}; {elsewhere}{mended}"


def _path_in(error: OSError) -> Path | None:
    """The file that an error names."""
    named = error.filename
    return None if named is None or isinstance(named, int) else Path(os.fsdecode(named))


def _lacking(number: int, path: Path | None, needed: int) -> str:
    """How much room a write needs and how much there is."""
    size = f"{needed:,} bytes" if needed else "more room"
    if number == errno.EFBIG:
        return f"{size} and that is more than a file may have ('ulimit -f')"
    if number == errno.EDQUOT:
        return f"{size} and your quota is used up"
    try:
        folder = path.parent if path else Path()
        free = shutil.disk_usage(folder).free
        if free > needed and not os.statvfs(folder).f_favail:
            return "one more file than the disk can hold"
    except OSError:
        return f"{size} and an unknown number of bytes are free"
    return f"{size} and {free:,} bytes are free"


def _home_of(path: Path) -> Path | None:
    """The nearest folder above a file that `resume` goes on with."""
    above = (path, *path.parents)[:4]  # <run>/checkpoints/file is as deep as it gets
    return next((f for f in above if any(os.path.isfile(f / name) for name in RECORDS)), None)


def _missing(path: Path) -> Path | None:
    """The topmost folder above a file that is not there."""
    gone = [folder for folder in path.parents if not os.path.lexists(folder)]
    return gone[-1] if gone else None


def _is_somewhere() -> bool:
    """Whether the working directory still exists."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True
