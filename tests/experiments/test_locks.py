import errno
import os
from pathlib import Path

import pytest

from lib.experiments.locks import InUse, alone_in, is_busy


def test_a_folder_is_held_against_a_second_launch(tmp_path: Path):
    assert not is_busy(tmp_path)
    with alone_in(tmp_path):
        assert is_busy(tmp_path)
        with pytest.raises(InUse, match="in use by another process"), alone_in(tmp_path):
            pass
    assert not is_busy(tmp_path)


def test_a_folder_that_nobody_can_write_to_is_in_use_by_nobody(tmp_path: Path, monkeypatch):
    with alone_in(tmp_path):
        pass
    opened = os.open

    def read_only(path, flags, *args, **how):
        if flags & (os.O_CREAT | os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *args, **how)

    monkeypatch.setattr(os, "open", read_only)
    assert not is_busy(tmp_path)
    with pytest.raises(OSError, match="Read-only file system"), alone_in(tmp_path):
        pass


@pytest.mark.parametrize("name", [".lock", ".launch-lock"])
def test_a_pipe_in_place_of_a_lock_keeps_nobody_waiting(tmp_path: Path, name):
    os.mkfifo(tmp_path / name)
    assert not is_busy(tmp_path)
    with alone_in(tmp_path):
        pass
