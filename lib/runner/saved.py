"""What can be gone on with in a run's folder, also where some of its files are damaged."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from lib.core.errors import UserError
from lib.core.files import atomic_write
from lib.core.storage import StorageError
from lib.runner import checkpoint, expected
from lib.runner.rotation import Rotation
from lib.runner.run_folder import DIFFERENCES, RunFolder, differences
from lib.runner.state import BEGINNING, Position


@dataclass(frozen=True)
class Standing:
    """Where a run can go on from."""

    positions: Mapping[Position, Path | None]  # and the checkpoints there; None begins
    notes: tuple[str, ...] = ()  # what is damaged, and what is done about it

    @property
    def newest(self) -> Position:
        """The position nearest to the end."""
        return max(self.positions)


def standing(folder: RunFolder) -> Standing:
    """Tells where a run can go on from: its newest checkpoints, or the beginning without any.

    Where these are damaged, or more was logged when they were written than is there now, it goes
    on from the best one.

    Raises:
        UserError: there are checkpoints, and none of them will do, or one is of another version.
    """
    rotation, notes = Rotation(folder.checkpoints), []
    found: dict[Position, Path | None] = {}
    broken = _complaint(folder.read_summary)
    for path in reversed(rotation.kept()):
        notes += _take(folder, path, found)
    if not found and rotation.best.exists():
        notes = notes or [f"'{rotation.last}' is gone"]
        notes += _take(folder, rotation.best, found)
    if not found and (notes or broken):
        raise UserError(
            f"run '{folder.path}' cannot go on: {notes[0] if notes else broken}, and there is no "
            f"checkpoint to go on from; put back a copy, or remove what is left with "
            f"'python -m lib clean {folder.path}' and start it again"
        )
    if notes:
        place = next(path.name for _, path in sorted(found.items(), reverse=True) if path)
        notes = [f"{'; '.join(notes)}; going on from {place}"]
    if broken:
        notes.append(f"{broken}; it is written again")
    return Standing(found or {BEGINNING: None}, tuple(notes))


def _take(folder: RunFolder, path: Path, found: dict[Position, Path | None]) -> list[str]:
    """Puts down a checkpoint's position, or says why it will not do."""
    try:
        meta = _verified_meta(path, _version(path))
        needed = {"position": expected.each(expected.WHOLE, 3), "metrics_bytes": expected.WHOLE}
        expected.check(meta, expected.record(needed), "meta", path)
    except (checkpoint.OtherFormat, StorageError):
        raise
    except UserError as error:
        return [_first_part(error)]
    there = folder.metrics.stat().st_size if folder.metrics.is_file() else 0
    if there < meta["metrics_bytes"]:
        return [
            f"'{folder.metrics}' has {there:,} bytes, {path.name} expects at least "
            f"{meta['metrics_bytes']:,}"
        ]
    found[tuple(meta["position"])] = path
    return []


@lru_cache(maxsize=64)
def _verified_meta(path: Path, version: tuple[int, ...]) -> Mapping[str, Any]:
    """The same as of `checkpoint`, once for every version of a file: large ones take a while."""
    return checkpoint.verified_meta(path)


def _version(path: Path) -> tuple[int, ...]:
    try:
        told = path.stat()
    except OSError:
        return ()
    return told.st_ino, told.st_size, told.st_mtime_ns


def _complaint(read: Any) -> str:
    """What reading a file of the folder complains about; nothing where it is as it should be."""
    try:
        read()
    except UserError as error:
        return _first_part(error)
    return ""


def _first_part(error: UserError) -> str:
    """What an error is about, without what to do."""
    return str(error).partition("; ")[0]


# What the run is ----------------------------------------------------------------------------


def record_of(folder: RunFolder) -> Mapping[str, Any]:
    """What the run in a folder is, and what it builds on: from config.yaml, or a checkpoint.

    Raises:
        UserError: neither tells.
    """
    try:
        return folder.read_config()
    except UserError:
        if told := recorded(folder):
            return told
        raise


def recorded(folder: RunFolder) -> dict[str, Any] | None:
    """What the newest checkpoint that can be read says of the run; None where none does."""
    for path in _checkpoints(folder):
        try:
            meta = checkpoint.load_meta(path)
        except UserError:
            continue
        if "config" in meta and "start" in meta:
            return {**meta["config"], **meta["start"]}
    return None


def _checkpoints(folder: RunFolder) -> Iterator[Path]:
    rotation = Rotation(folder.checkpoints)
    yield from (rotation.last, rotation.previous, rotation.best)
    yield from sorted(folder.checkpoints.glob("task-*.safetensors"), reverse=True)


def take(folder: RunFolder, record: Mapping[str, Any]) -> None:
    """Writes the configuration into a new folder, or checks that the folder holds this run.

    A folder without a checkpoint has learnt nothing yet, so that a run whose start was refused
    (a misspelt load_from, say) can be asked for again. Where the file is damaged or gone, the
    checkpoints tell which run it was, and it is written again.

    Raises:
        UserError: it holds another run, or something else.
    """
    try:
        held = record_of(folder)
    except UserError:
        held = None
        if folder.config.exists() and not folder.has_traces():
            raise
    different = differences(held, json.loads(json.dumps(record))) if held else []
    if different and folder.checkpoints.exists():
        few = "; ".join(different[:DIFFERENCES])
        raise UserError(
            f"'{folder.path}' already holds a different run ({few}); "
            "choose another out_dir, or remove the folder to start over"
        )
    if different or _complaint(folder.read_config):
        atomic_write(folder.config, yaml.safe_dump(dict(record), sort_keys=False))
