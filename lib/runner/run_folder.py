"""Whose a run folder is: one trainer at a time, and one run for good."""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lib.core.errors import UserError
from lib.core.files import atomic_write
from lib.runner.summary import differences


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Holds the folder against a second trainer; the system frees it when the process ends."""
    handle = os.open(out / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        for _ in range(30):  # a killed run's kernel may take a moment to notice
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            raise UserError(
                f"'{out}' is being trained by another process; wait for it, stop it, "
                "or choose another out_dir"
            )
        yield
    finally:
        os.close(handle)


def claim(out: Path, record: dict[str, Any]) -> None:
    """Writes the configuration into a new folder, or checks that the folder holds this run.

    A folder without a checkpoint has learnt nothing yet, so that a run whose start was refused
    (a misspelt load_from, say) can be asked for again.
    """
    path = out / "config.yaml"
    if path.exists():
        different = differences(_read_record(path), json.loads(json.dumps(record)))
        if not different:
            return
        if (out / "checkpoints").exists():
            raise UserError(
                f"'{out}' already holds a different run ({'; '.join(different[:4])}); "
                "choose another out_dir, or remove the folder to start over"
            )
    atomic_write(path, yaml.safe_dump(record, sort_keys=False))


def _read_record(path: Path) -> Mapping[str, Any]:
    """The configuration that a run folder holds."""
    try:
        held = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        held = None
    if not isinstance(held, Mapping) or "method_name" not in held:
        raise UserError(
            f"'{path}' is not the configuration of a run of this workbook; choose another out_dir"
        )
    return held
