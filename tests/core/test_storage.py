import errno
import os
from pathlib import Path

import pytest

from lib.core import storage
from lib.core.errors import UserError
from lib.core.storage import (
    StorageError,
    continued_in,
    explained,
    from_words,
    holding_nothing,
    how_to_go_on,
    mended_by,
    told_at_the_end,
    told_to_the_user,
)


def error(number: int, path: object = None) -> OSError:
    return OSError(number, os.strerror(number), *([str(path)] if path else []))


@pytest.mark.parametrize(
    ("number", "parts"),
    [
        (errno.ENOSPC, ["disk full", "1,234 bytes", "are free", "untouched", "free some space"]),
        (errno.EDQUOT, ["disk full", "quota is used up"]),
        (errno.EFBIG, ["disk full", "ulimit -f"]),
        (errno.EROFS, ["Read-only file system", "'--out'", "make it writable"]),
        (errno.EACCES, ["Permission denied", "'--out'", "make it writable"]),
        (errno.ENOTDIR, ["Not a directory", "'--out'", "move what is in its place away"]),
        (errno.ENAMETOOLONG, ["File name too long", "'--out'", "choose a shorter name"]),
        (errno.EMFILE, ["Too many open files", "ulimit -n 4096"]),
        (errno.EIO, ["Input/output error", "check the disk"]),
        (errno.ESTALE, ["Stale file handle", "see to that"]),
    ],
)
def test_whatever_is_refused_is_one_line_that_says_what_to_do(tmp_path: Path, number, parts):
    path = tmp_path / "a"
    with pytest.raises(StorageError) as caught, told_to_the_user(path, 1234):
        raise error(number)
    said = str(caught.value)
    assert "\n" not in said and f"'{path}'" in said
    assert all(part in said for part in parts), said
    assert said.endswith("and give the command that started it again")


def test_a_folder_that_is_gone_and_a_link_to_nothing_are_named(tmp_path: Path):
    gone = explained(error(errno.ENOENT), tmp_path / "run" / "checkpoints" / "a")
    assert f"there is no folder '{tmp_path / 'run'}'" in str(gone)
    (tmp_path / "link").symlink_to("nowhere")
    link = explained(error(errno.EEXIST, tmp_path / "link"))
    assert f"cannot use '{tmp_path / 'link'}': it is a link to 'nowhere'" in str(link)


def test_the_advice_follows_what_the_folder_holds(tmp_path: Path):
    out = tmp_path / "a run"
    (out / "checkpoints").mkdir(parents=True)
    path = out / "checkpoints" / "last.safetensors"
    assert "the command that started it" in str(explained(error(errno.ENOSPC), path))
    (out / "config.yaml").touch()
    resume = f"continue with 'python -m lib resume '{out}''"
    assert str(explained(error(errno.ENOSPC), path)).endswith(resume)
    assert how_to_go_on(out) == resume  # quoted for a shell


def test_the_parts_of_a_work_are_continued_with_the_whole(tmp_path: Path):
    seed, whole = tmp_path / "a-s0", tmp_path / "a-seeds-0-1"
    for folder, record in ((seed, "config.yaml"), (whole, "seeds.yaml")):
        folder.mkdir()
        (folder / record).touch()
    resume = rf"{seed}/x'.*resume {whole}'"
    with (
        pytest.raises(StorageError, match=resume),
        continued_in(whole),
        told_to_the_user(seed / "x"),
    ):
        raise error(errno.ENOSPC)
    with pytest.raises(StorageError, match=resume), continued_in(whole):
        raise error(errno.EIO, seed / "x")
    with pytest.raises(StorageError, match="from a kernel"), continued_in(whole):
        raise StorageError("from a kernel")  # whose advice was right there


def test_an_error_is_found_in_what_another_process_printed(monkeypatch):
    found = from_words("FileNotFoundError: [Errno 2] No such file or directory: '/proc/.ipython'")
    assert (found.errno, found.filename) == (errno.ENOENT, "/proc/.ipython")
    assert from_words("OSError: [Errno 28] No space left on device").errno == errno.ENOSPC
    assert from_words("ValueError: no error of the system") is None
    monkeypatch.setenv("HOME", "/proc")
    assert mended_by(str(found)) == "set HOME (now '/proc') to a folder that can be written"
    assert mended_by("Too many open files (src/ip_resolver.cpp:542)") == storage.MORE_FILES
    assert mended_by("out of luck") == ""


def test_only_what_says_something_of_a_file_is_passed_over():
    for harmless in (error(errno.ENOENT), error(errno.EACCES), ValueError(), UserError()):
        with holding_nothing():
            raise harmless
    for number in (errno.EMFILE, errno.EIO):
        with pytest.raises(OSError, match=os.strerror(number)), holding_nothing():
            raise error(number)


def test_a_working_directory_that_is_gone_is_said_to_be(tmp_path: Path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        os.getcwd()
    assert str(told_at_the_end(caught.value)).startswith("the folder that you are in has been")
