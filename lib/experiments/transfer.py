"""Prepares and runs comparisons of trained world models on new tasks.

A comparison is a table of *trials*: every task, learnt from every *start*, with every seed. A start
is what a learner begins with: nothing ("scratch"), or the world model of a finished run, and then
it is called after that run's method. All else is the same: learner, budget, seed, and where
episodes begin.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib.algos import registry
from lib.algos.api import TransferStudy
from lib.core.config import RunConfig
from lib.core.errors import NonFiniteError, RunInterrupted, UserError
from lib.core.files import atomic_write
from lib.core.paths import ROOT, from_root, shown
from lib.core.storage import continued_in
from lib.envs import worlds
from lib.experiments import folders, params, run_config, sources, summaries
from lib.experiments.sources import Source
from lib.experiments.summaries import read_progress
from lib.runner import contents, warm_start
from lib.runner.run_folder import RunFolder, differences
from lib.runner.training import train

NOTHING = "scratch"  # the start without a world model

PARAMETERS: dict[str, Any] = {
    # What notebooks/10_transfer.py may be given, with its default.
    "preset": "cheetah-transfer-quick",
    "tasks": [],
    "sources": [],
    "seeds": [],
    "pre_rollout": "",
    "overrides": {},
    "device": "auto",
    "out_dir": "",
}
SHARED = ("preset", "overrides", "device")  # parameters that every trial takes as they are


@dataclass(frozen=True)
class Trial:
    """One run: a task, learnt from one start with one seed."""

    task: str  # full name
    start: str  # "scratch", or the method whose world model it begins with
    seed: int
    parameters: dict[str, Any]  # of notebooks/20_run.py
    config: RunConfig
    folder: Path

    def __str__(self) -> str:
        return f"{self.task}, {self.start}, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """What a comparison was asked for, and the runs that it takes."""

    out: Path
    parameters: dict[str, Any]  # of notebooks/10_transfer.py, nothing left to defaults
    sources: tuple[Source, ...]
    trials: tuple[Trial, ...]

    @property
    def tasks(self) -> list[str]:
        """Full names in order."""
        return list(dict.fromkeys(trial.task for trial in self.trials))

    @property
    def starts(self) -> list[str]:
        """Scratch first, then methods in the order of their sources."""
        return list(dict.fromkeys(trial.start for trial in self.trials))

    def source(self, start: str, seed: int) -> Source | None:
        """The run whose world model a start means with a seed; None for scratch."""
        return sources.of(self.sources, start, seed)


# Preparing ----------------------------------------------------------------------------------


def prepare(parameters: Mapping[str, Any], outputs: Path) -> Study:
    """Lists every run that a comparison takes, and checks them before the first one starts.

    Args:
        parameters: see `PARAMETERS`; paths in it count from the repository's root.
        outputs: folder where sources are looked for, and where the result goes if no `out_dir`
            is given.

    Raises:
        UserError: an unknown name, a source that is missing, unfinished, of another world or with
            other networks, nobody to act first in a task such as jump2run, or a folder that holds
            something else.
    """
    run_config.check_parameters(parameters, PARAMETERS)
    given = PARAMETERS | dict(parameters)
    if wrong := [text for text in given["sources"] if not isinstance(text, str)]:
        raise UserError(f"parameter 'sources': {wrong[0]!r} is no folder; give paths of runs")
    rules = study_of(given["preset"])
    base = run_config.resolve({key: given[key] for key in SHARED} | {"method": rules.learner})
    entries = given["tasks"] or rules.tasks[base.env.domain]
    tasks = worlds.resolve(base.env, entries)
    runs = sources.load(given["sources"], base, outputs, rules)
    seeds = sources.seeds(given["seeds"], runs)
    acting = {task.name: _acts_first(task, given["pre_rollout"], runs, base) for task in tasks}
    if given["pre_rollout"] and not any(acting.values()):
        raise UserError(
            f"pre_rollout '{given['pre_rollout']}' would act in no task: none of "
            f"{', '.join(acting)} begins with another agent, as jump2run does"
        )
    out = ROOT / given["out_dir"] if given["out_dir"] else outputs / given["preset"]
    folders.check_asked(out, contents.TRANSFER)
    starts = dict.fromkeys((NOTHING, *(run.method for run in runs)))
    trials = [
        _trial(given, rules, out, entry, task.name, start, runs, seed, acting[task.name])
        for entry, task in zip(entries, tasks, strict=True)
        for start in starts
        for seed in seeds
    ]
    complete = given | {
        "tasks": list(entries),
        "sources": [from_root(run.folder) for run in runs],
        "seeds": list(seeds),
        "out_dir": from_root(out),
    }
    return Study(out, complete, tuple(runs), tuple(trials))


def study_of(preset: str) -> TransferStudy:
    """How the family of a preset compares world models.

    Raises:
        UserError: an unknown preset, or one whose family does not.
    """
    if study := registry.of_preset(preset).transfer_study:
        return study
    able = [name for name in registry.FAMILIES if registry.family(name).transfer_study]
    raise UserError(
        f"preset '{preset}' is of a family whose world models are not compared on new tasks; take "
        f"one of {' or '.join(able)}, such as '{PARAMETERS['preset']}'"
    )


def _acts_first(task: Any, place: str, runs: list[Source], base: RunConfig) -> str:
    """Run or checkpoint of the agent that acts first in a task, the same one in all its trials.

    Unless one is named it comes from the first source that learnt the task in question.
    """
    if not task.after:
        return ""
    if not place:
        learnt = [run for run in runs if task.after in run.tasks]
        if not learnt:
            raise UserError(
                f"task '{task.name}' begins where an agent trained on '{task.after}' leaves off, "
                "and no source has learnt that; name a run that has with pre_rollout"
            )
        place = from_root(learnt[0].folder)
    warm_start.first_checkpoints(str(shown(ROOT / place)), (task,), base)
    return place


def _trial(
    given: Mapping[str, Any],
    rules: TransferStudy,
    out: Path,
    entry: Any,
    task: str,
    start: str,
    runs: list[Source],
    seed: int,
    acting: str,
) -> Trial:
    """One cell of the table. Raises UserError where its folder holds something else."""
    source = sources.of(runs, start, seed)
    parameters = run_config.PARAMETERS | {
        **{key: given[key] for key in SHARED},
        "name": f"{given['preset']}-{_short(task)}-{start}",
        "method": rules.learner if source else rules.scratch,
        "seed": seed,
        "tasks": [entry],
        "load_mode": "world-model" if source else "",
        "load_from": from_root(source.folder) if source else "",
        "pre_rollout": acting,
    }
    config, folder = run_config.resolve(parameters), out / "runs" / f"{task}-{start}-s{seed}"
    held, record = folders.held(folder), params.record(config, parameters)
    if held is not None and (different := differences(held, record)):
        raise UserError(
            f"'{shown(folder)}' already holds a different run ({'; '.join(different[:4])}); "
            "choose another out_dir, or remove that folder"
        )
    return Trial(task, start, seed, parameters, config, folder)


def _short(name: str) -> str:
    """A control task's name without its domain, a room's as it is."""
    return re.sub(r"^(cheetah|walker)-", "", name)


# Running ------------------------------------------------------------------------------------


def write_request(study: Study) -> None:
    """Writes down in the comparison's folder what it is, for `resume`, `list` and `clean`."""
    study.out.mkdir(parents=True, exist_ok=True)
    runs = [str(trial.folder.relative_to(study.out)) for trial in study.trials]
    record = {"parameters": study.parameters, "runs": runs}
    atomic_write(study.out / contents.TRANSFER, yaml.safe_dump(record, sort_keys=False))


def run(study: Study, *, video: str = "", tensorboard: bool = True, progress: bool = False) -> None:
    """Trains every trial in turn; finished ones are passed over, unfinished ones go on.

    A file named `stop` in the comparison's folder stops it, as it stops a run in a run's folder.
    A trial whose losses stop being finite is left out, and the others go on.

    Raises:
        RunInterrupted: somebody asked for a stop; what was learnt is saved.
    """
    with continued_in(study.out):
        _train_all(study, video=video, tensorboard=tensorboard, progress=progress)


def _train_all(study: Study, **how: Any) -> None:
    """Trains the trials that are not finished yet."""
    write_request(study)
    for number, trial in enumerate(study.trials, 1):
        which = f"{number} of {len(study.trials)}: {trial}"
        try:
            with _stopping_with(RunFolder(study.out).stop, trial.folder):
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
            (final,) = summaries.summary(trial.folder)["final_return"].values()
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
    """Where all trials together stand, as one run's `progress.json` says it; None before that."""
    states = [read_progress(RunFolder(trial.folder).progress) for trial in study.trials]
    newest = max(range(len(states)), key=lambda index: _written(study.trials[index]))
    if states[newest] is None or _written(study.trials[newest]) < newer_than:
        return None
    total = sum(trial.config.budget.env_steps_per_task for trial in study.trials)
    done = sum(state["env_steps"] for state in states if state)
    rate = states[newest].get("env_steps_per_s")
    return states[newest] | {
        "task": str(study.trials[newest]),
        "task_index": newest,
        "tasks": len(study.trials),
        "env_steps": done,
        "env_steps_total": total,
        "eta_s": (total - done) / rate if rate else None,
    }


def _written(trial: Trial) -> float:
    """When a trial last said where it stands [seconds since the epoch]; 0 for never."""
    path = RunFolder(trial.folder).progress
    return path.stat().st_mtime if path.exists() else 0.0
