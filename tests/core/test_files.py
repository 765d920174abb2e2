import errno
import os
import resource
from pathlib import Path

import pytest

from lib.core.errors import UserError
from lib.core.files import atomic_write, partial_path


def test_new_content_replaces_the_old_and_leaves_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "a.json"
    atomic_write(path, "old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_crash_between_write_and_rename_keeps_the_old_file(tmp_path: Path, monkeypatch):
    path = tmp_path / "a.json"
    atomic_write(path, "old")

    def killed(*_):
        assert partial_path(path).read_text() == "new"  # complete before it takes the name
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, "new")
    assert path.read_text() == "old"


def test_leftovers_of_a_killed_write_are_overwritten(tmp_path: Path):
    path = tmp_path / "a.json"
    partial_path(path).write_text("half of something much longer")
    atomic_write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_file_and_folder_reach_the_disk_in_that_order(tmp_path: Path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace

    def recording_fsync(descriptor):
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", lambda *a: (order.append("rename"), replace(*a)))
    atomic_write(tmp_path / "a", "text")
    assert order == ["file", "rename", "folder"]


def test_a_full_disk_is_one_line_and_touches_nothing(tmp_path: Path, monkeypatch):
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    path.parent.mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").touch()
    atomic_write(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError) as caught:
        atomic_write(path, b"x" * 1234)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(path), "1,234 bytes", "free", "untouched", f"resume {tmp_path / 'run'}'"):
        assert part in message
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_the_system_cuts_off_is_reported_the_same_way(tmp_path: Path):
    path = tmp_path / "a"
    atomic_write(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # a real, partial write
    try:
        with pytest.raises(UserError, match="disk full"):
            atomic_write(path, b"x" * 50_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_the_users_to_mend(tmp_path: Path):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(UserError, match=r"cannot write .*'--out'"):
        atomic_write(tmp_path / "run" / "a", "text")
