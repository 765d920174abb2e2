"""A run's folder: where everything in it lies, whose it is, and what in it belongs to the run."""

import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.core.errors import UserError
from lib.runner import contents, records

DIFFERENCES = 4  # settings named in an error


@dataclass(frozen=True)
class RunFolder:
    """The paths in a run's folder, and what is read from there."""

    path: Path

    @property
    def config(self) -> Path:
        """The whole configuration, and what the run builds on."""
        return self.path / contents.CONFIG

    @property
    def summary(self) -> Path:
        """What the run came to."""
        return self.path / contents.SUMMARY

    @property
    def progress(self) -> Path:
        """How far the run is."""
        return self.path / contents.PROGRESS

    @property
    def metrics(self) -> Path:
        """Every number that was logged."""
        return self.path / contents.METRICS

    @property
    def timing(self) -> Path:
        """How fast it went."""
        return self.path / contents.TIMING

    @property
    def parts(self) -> Path:
        """What was done with every tensor when parts of other runs were taken."""
        return self.path / contents.PARTS

    @property
    def wandb_id(self) -> Path:
        """The name under which W&B knows the run."""
        return self.path / contents.WANDB_ID

    @property
    def launch_lock(self) -> Path:
        """What a command holds that executes a notebook here."""
        return self.path / contents.LAUNCH_LOCK

    @property
    def stop(self) -> Path:
        """A file that asks the run to save itself and stop."""
        return self.path / contents.STOP

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / contents.CHECKPOINTS

    @property
    def videos(self) -> Path:
        """The folder of the films."""
        return self.path / contents.VIDEOS

    @property
    def last_checkpoint(self) -> Path:
        """What was saved last."""
        return self.checkpoints / contents.LAST

    def task_checkpoint(self, task: int) -> Path:
        """What was saved when a task (0 is the first) had been learnt."""
        return self.checkpoints / f"task-{task + 1}.safetensors"

    def audit(self, task: int) -> Path:
        """The arrays of the audit after a task (0 is the first)."""
        return self.path / contents.AUDITS / f"task-{task + 1}.npz"

    @staticmethod
    def film_label(task: int, name: str, progress: int) -> str:
        """Name of the films of one evaluation, without their ending."""
        return f"{task + 1}-{name}-{progress:07d}"

    # --- whose it is ---------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder against a second trainer; the system frees it when the process ends."""
        handle = os.open(self.path / contents.LOCK, os.O_CREAT | os.O_RDWR, 0o644)
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

    def has_traces(self) -> bool:
        """Whether there is something that the workbook alone leaves, whatever else is gone."""
        saved = self.checkpoints.glob("*.safetensors")
        return self.launch_lock.is_file() or any(map(contents.is_checkpoint, saved))

    # --- what is read from it ------------------------------------------------------------

    def read_config(self) -> Mapping[str, Any]:
        """Returns the configuration that the folder holds.

        Raises:
            UserError: it is none.
        """
        held = records.read_config(self.config)
        if held is None:
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
        return records.read_json(self.summary, records.SUMMARY)

    def read_progress(self) -> dict[str, Any] | None:
        """Returns how far the run is; None where nothing is told yet.

        Raises:
            UserError: the file is damaged.
        """
        return records.read_json(self.progress, records.PROGRESS)

    def is_complete(self) -> bool:
        """Whether the summary says that the run reached its end; a damaged one does not."""
        try:
            return (self.read_summary() or {}).get("status") == records.COMPLETE
        except UserError:
            return False

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
            if known := re.fullmatch(contents.FILM, path.name):
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
