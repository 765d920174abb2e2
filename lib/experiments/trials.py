"""Runs the trials of a comparison one after another, from wherever they stand.

A trial is one run of a table: a task, begun in one way, with one seed. What the ways are is up to
who lays the table out: world models of finished runs (`transfer`), or params files (`arms`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib.core.config import RunConfig
from lib.core.errors import NonFiniteError, RunInterrupted
from lib.core.files import atomic_write
from lib.core.paths import from_root, shown
from lib.core.storage import continued_in
from lib.experiments import params, requests, sources, summaries
from lib.experiments.sources import Source
from lib.experiments.summaries import read_progress
from lib.runner import contents
from lib.runner.run_folder import RunFolder
from lib.runner.training import train

NOTHING = "scratch"  # the start without anything of other runs


@dataclass(frozen=True)
class Trial:
    """One run: a task, learnt from one start with one seed."""

    task: str  # full name
    start: str  # "scratch", the method whose world model it begins with, or the name of an arm
    seed: int
    parameters: dict[str, Any]  # of notebooks/20_run.py
    config: RunConfig
    folder: Path
    needs: tuple[Path, ...] = ()  # runs of the same study that have to be finished before

    def __str__(self) -> str:
        return f"{self.task}, {self.start}, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """What a comparison was asked for, and the runs that it takes."""

    out: Path
    parameters: dict[str, Any]  # of notebooks/10_transfer.py, nothing left to defaults
    sources: tuple[Source, ...]  # finished runs that it builds on
    trials: tuple[Trial, ...]
    made: tuple[Trial, ...] = ()  # runs that trials build on and that it trains first, in order
    notes: tuple[str, ...] = ()  # what somebody should know before it begins

    @property
    def runs(self) -> tuple[Trial, ...]:
        """Every run that it trains, in order."""
        return (*self.made, *self.trials)

    @property
    def tasks(self) -> list[str]:
        """Full names in order."""
        return list(dict.fromkeys(trial.task for trial in self.trials))

    @property
    def starts(self) -> list[str]:
        """Scratch first, then methods in the order of their sources, or arms as they are listed."""
        return list(dict.fromkeys(trial.start for trial in self.trials))

    def source(self, start: str, seed: int) -> Source | None:
        """The run whose world model a start means with a seed; None for scratch."""
        return sources.of(self.sources, start, seed)


def write_request(study: Study) -> None:
    """Writes down in the comparison's folder what it is, for `resume`, `list` and `clean`."""
    study.out.mkdir(parents=True, exist_ok=True)
    runs = [str(trial.folder.relative_to(study.out)) for trial in study.runs]
    record = {"parameters": study.parameters, "runs": runs}
    atomic_write(study.out / contents.TRANSFER, yaml.safe_dump(record, sort_keys=False))


def run(study: Study, *, video: str = "", tensorboard: bool = True, progress: bool = False) -> None:
    """Trains every run in turn; finished ones are passed over, unfinished ones go on.

    A file named `stop` in the comparison's folder stops it, as it stops a run in a run's folder.
    A run whose losses stop being finite is left out, and with it those that build on it; the others
    go on.

    Raises:
        RunInterrupted: somebody asked for a stop; what was learnt is saved.
    """
    with continued_in(study.out):
        _train_all(study, video=video, tensorboard=tensorboard, progress=progress)


def _train_all(study: Study, **how: Any) -> None:
    """Trains the runs that are not finished yet."""
    write_request(study)
    for number, trial in enumerate(study.runs, 1):
        which = f"{number} of {len(study.runs)}: {trial}"
        if missing := [path for path in trial.needs if not summaries.is_finished(path)]:
            print(f"{which}: left out, as '{shown(missing[0])}' is, on which it builds")
            continue
        asked = trial.parameters | {"video": how["video"]}
        try:
            with _stopping_with(RunFolder(study.out).stop, trial.folder):
                requests.write(trial.folder, trial.config, asked)
                train(
                    trial.config,
                    trial.folder,
                    **{key: trial.parameters[key] for key in params.KEPT},
                    **how,
                )
        except NonFiniteError as error:
            print(f"{which}: left out, {error}")
        except RunInterrupted:
            (RunFolder(study.out).stop).unlink(missing_ok=True)
            raise RunInterrupted(
                f"stopped in run {which}, saved; resume with: python -m lib resume "
                f"{from_root(study.out)}"
            ) from None
        else:
            *_, final = summaries.summary(trial.folder)["final_return"].values()
            print(f"{which}: final return {final:.1f}")


@contextmanager
def _stopping_with(stop: Path, folder: Path) -> Iterator[None]:
    """Lets the stop file of the whole comparison be that of one of its runs, by a link."""
    folder.mkdir(parents=True, exist_ok=True)
    link = RunFolder(folder).stop
    link.unlink(missing_ok=True)  # left by a process that was killed
    link.symlink_to(os.path.relpath(stop, folder))
    try:
        yield
    finally:
        link.unlink(missing_ok=True)


def progress(study: Study, newer_than: float = 0.0) -> dict[str, Any] | None:
    """Where all runs together stand, as one run's `progress.json` says it; None before that."""
    states = [read_progress(RunFolder(trial.folder).progress) for trial in study.runs]
    newest = max(range(len(states)), key=lambda index: _written(study.runs[index]))
    if states[newest] is None or _written(study.runs[newest]) < newer_than:
        return None
    told = states[newest] | {
        "task": str(study.runs[newest]),
        "task_index": newest,
        "tasks": len(study.runs),
    }
    if not told["env_steps_total"]:  # learnt from files: updates of the newest run alone
        return told
    budgets = ((trial.config.budget, len(trial.config.tasks)) for trial in study.runs)
    total = sum(budget.steps_before(tasks) for budget, tasks in budgets)
    done = sum(state["env_steps"] for state in states if state)
    rate = told.get("env_steps_per_s")
    eta = (total - done) / rate if rate else None
    return told | {"env_steps": done, "env_steps_total": total, "eta_s": eta}


def _written(trial: Trial) -> float:
    """When a trial last said where it stands [seconds since the epoch]; 0 for never."""
    path = RunFolder(trial.folder).progress
    return path.stat().st_mtime if path.exists() else 0.0
