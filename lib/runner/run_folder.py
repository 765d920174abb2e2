"""A run's folder: where everything in it lies, whose it is, and what in it belongs to the run."""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib.core.errors import UserError
from lib.core.files import atomic_write
from lib.core.plain_yaml import read_yaml_file
from lib.core.storage import NOT_THE_FILES, holding_nothing
from lib.runner import expected

DIFFERENCES = 4  # settings named in an error

NUMBERS = expected.each(expected.maybe(expected.NUMBER))
CURVES = expected.mapping(expected.mapping(NUMBERS))
SUMMARY = expected.record(
    {"status": expected.TEXT},
    {
        "name": expected.TEXT,
        "method": expected.TEXT,
        "preset": expected.TEXT,
        "seeds": expected.each(expected.WHOLE),
        "env_steps": expected.WHOLE,
        "decisions": expected.WHOLE,
        "updates": expected.WHOLE,
        "tasks": expected.each(expected.TEXT),
        "optimum": expected.maybe(expected.mapping(expected.maybe(expected.NUMBER))),
        "return_matrix": expected.each(NUMBERS),
        "final_return": expected.mapping(expected.maybe(expected.NUMBER)),
        "curves": CURVES,
        "monitor": CURVES,
        "audit": expected.each(expected.mapping(expected.maybe(expected.NUMBER))),
        "config": expected.mapping(expected.ANYTHING),
    },
)
PROGRESS = expected.record(
    {
        "task": expected.TEXT,
        "env_steps": expected.WHOLE,
        "env_steps_total": expected.WHOLE,
        "phase": expected.TEXT,
    },
    {
        "task_index": expected.WHOLE,
        "updates": expected.WHOLE,
        "last_return": expected.maybe(expected.NUMBER),
        "optimum": expected.maybe(expected.NUMBER),
        "seeds": expected.each(expected.WHOLE),
    },
)


@dataclass(frozen=True)
class RunFolder:
    """The paths in a run's folder, and what is read from there."""

    path: Path

    @property
    def config(self) -> Path:
        """The whole configuration, and what the run builds on."""
        return self.path / "config.yaml"

    @property
    def summary(self) -> Path:
        """What the run came to."""
        return self.path / "summary.json"

    @property
    def progress(self) -> Path:
        """How far the run is."""
        return self.path / "progress.json"

    @property
    def metrics(self) -> Path:
        """Every number that was logged."""
        return self.path / "metrics.jsonl"

    @property
    def stop(self) -> Path:
        """A file that asks the run to save itself and stop."""
        return self.path / "stop"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def videos(self) -> Path:
        """The folder of the films."""
        return self.path / "videos"

    def task_checkpoint(self, task: int) -> Path:
        """What was saved when a task (0 is the first) had been learnt."""
        return self.checkpoints / f"task-{task + 1}.safetensors"

    def audit(self, task: int) -> Path:
        """The arrays of the audit after a task (0 is the first)."""
        return self.path / "audits" / f"task-{task + 1}.npz"

    @staticmethod
    def film_label(task: int, name: str, progress: int) -> str:
        """Name of the films of one evaluation, without their ending."""
        return f"{task + 1}-{name}-{progress:07d}"

    # --- whose it is ---------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder against a second trainer; the system frees it when the process ends."""
        handle = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            for _ in range(30):  # a killed run's kernel may take a moment to notice
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.1)
            else:
                raise UserError(
                    f"'{self.path}' is being trained by another process; wait for it, stop it, "
                    "or choose another out_dir"
                )
            yield
        finally:
            os.close(handle)

    def take(self, record: dict[str, Any]) -> None:
        """Writes the configuration into a new folder, or checks that the folder holds this run.

        A folder without a checkpoint has learnt nothing yet, so that a run whose start was refused
        (a misspelt load_from, say) can be asked for again.

        Raises:
            UserError: it holds another run, or something else.
        """
        if self.config.exists():
            different = differences(self.read_config(), json.loads(json.dumps(record)))
            if not different:
                return
            if self.checkpoints.exists():
                raise UserError(
                    f"'{self.path}' already holds a different run "
                    f"({'; '.join(different[:DIFFERENCES])}); "
                    "choose another out_dir, or remove the folder to start over"
                )
        atomic_write(self.config, yaml.safe_dump(record, sort_keys=False))

    # --- what is read from it ------------------------------------------------------------

    def read_config(self) -> Mapping[str, Any]:
        """Returns the configuration that the folder holds.

        Raises:
            UserError: it is none.
        """
        held = None
        with holding_nothing():
            held = read_yaml_file(self.config)
        if not isinstance(held, Mapping) or not isinstance(held.get("method_name"), str):
            raise UserError(
                f"'{self.config}' is not the configuration of a run of this workbook; "
                "choose another out_dir"
            )
        return held

    def read_summary(self) -> dict[str, Any] | None:
        """Returns what the run came to; None where nothing is told yet.

        Raises:
            UserError: the file is damaged.
        """
        return _read_json(self.summary, SUMMARY)

    def read_progress(self) -> dict[str, Any] | None:
        """Returns how far the run is; None where nothing is told yet.

        Raises:
            UserError: the file is damaged.
        """
        return _read_json(self.progress, PROGRESS)

    def is_complete(self) -> bool:
        """Whether the summary says that the run reached its end.

        Raises:
            UserError: the summary is damaged.
        """
        return (self.read_summary() or {}).get("status") == "complete"

    # --- what belongs to it --------------------------------------------------------------

    def remove_leftovers(self, task: int, progress: int, evaluated: bool) -> None:
        """Removes what a killed process wrote after the checkpoint that is resumed.

        It is written again where the run comes to it again; who asks for fewer films, say, would
        otherwise keep films of evaluations that the run knows nothing of.

        Args:
            task: index of the task being learnt.
            progress: how far in it the checkpoint is, as films count it.
            evaluated: whether the evaluation at that point is part of the run.
        """
        for path in self.checkpoints.glob("task-*.safetensors"):
            _remove_beyond(path, task)
        for path in self.audit(0).parent.glob("task-*.npz"):
            _remove_beyond(path, task)
        for path in self.videos.glob("*.mp4"):
            if known := re.fullmatch(r"(\d+)-.+-(\d{7,})(-imagined)?\.mp4", path.name):
                index, at = int(known[1]) - 1, int(known[2])
                if (index, at, not evaluated) > (task, progress, False):
                    path.unlink()
        for folder in (self.checkpoints, self.audit(0).parent, self.videos):
            for path in folder.glob(".*.partial*"):
                path.unlink()


def _remove_beyond(path: Path, task: int) -> None:
    """Removes what belongs to a task that is not finished yet."""
    number = path.stem.removeprefix("task-")
    if number.isdecimal() and int(number) > task:
        path.unlink()


def _read_json(path: Path, spec: expected.Spec) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        if getattr(error, "errno", None) in NOT_THE_FILES:
            raise
        raise expected.damaged(path, f"it cannot be read ({error})") from None
    expected.check(found, spec, "it", path)
    return found


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of settings that differ, each with both values."""
    found = []
    for key in sorted(one.keys() | other.keys(), key=str):
        left, right = one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append(f"{prefix}{key} is {left!r} there, {right!r} here")
    return found
