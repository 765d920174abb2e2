"""Trained world models meet new tasks: which runs a comparison takes, and running them.

A comparison is a table of *trials*: every task, learnt from every *start*, with every seed. A start
is what a learner begins with: nothing ("scratch"), or the world model of a finished run, and then
it is called after that run's method. All else is the same: learner, budget, seed, and where
episodes begin.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib.algos.tdmpc.presets import TRANSFER
from lib.analysis import results
from lib.analysis.results import Run
from lib.core import config as configs
from lib.core.config import RunConfig
from lib.core.errors import NonFiniteError, RunInterrupted, UserError, unknown
from lib.core.files import atomic_write
from lib.core.paths import ROOT, from_root, shown
from lib.envs import worlds
from lib.experiments import folders, params, run_config
from lib.experiments.folders import read_progress
from lib.runner import checkpoint, warm_start
from lib.runner.summary import differences
from lib.runner.training import train

NOTHING = "scratch"  # the start without a world model, and the method that says so
LEARNER = "tdmpc"  # the method of every other trial: no reviewer, no rehearsal
METHODS = ("tdmpc", "drago")  # whose runs are looked for where no source is named

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
    sources: tuple[Run, ...]
    trials: tuple[Trial, ...]

    @property
    def tasks(self) -> list[str]:
        """Full names in order."""
        return list(dict.fromkeys(trial.task for trial in self.trials))

    @property
    def starts(self) -> list[str]:
        """Scratch first, then methods in the order of their warm_start."""
        return list(dict.fromkeys(trial.start for trial in self.trials))

    def source(self, start: str, seed: int) -> Run | None:
        """The run whose world model a start means with a seed; None for scratch."""
        return _source(self.sources, start, seed)


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
    for key in parameters:
        if key not in PARAMETERS:
            raise unknown("parameter", key, PARAMETERS)
    given = PARAMETERS | dict(parameters)
    base = run_config.resolve({key: given[key] for key in SHARED} | {"method": LEARNER})
    entries = given["tasks"] or TRANSFER[base.env.domain]
    tasks = worlds.resolve(base.env, entries)
    runs = _load_sources(given["sources"], given["preset"], outputs, base)
    seeds = _seeds(given["seeds"], runs)
    acting = {task.name: _acts_first(task, given["pre_rollout"], runs, base) for task in tasks}
    if given["pre_rollout"] and not any(acting.values()):
        raise UserError(
            f"pre_rollout '{given['pre_rollout']}' would act in no task: none of "
            f"{', '.join(acting)} begins with another agent, as jump2run does"
        )
    out = ROOT / given["out_dir"] if given["out_dir"] else outputs / given["preset"]
    folders.check_asked(out, folders.TRANSFER)
    starts = dict.fromkeys((NOTHING, *(run.method for run in runs)))
    trials = [
        _trial(given, out, entry, task.name, start, seed, runs, acting[task.name])
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


def stream_of(preset: str) -> str:
    """What the runs that a preset builds on are called, after their method: cheetah-quick."""
    name = re.sub(r"-(transfer|few-shot)", "", preset)
    return "grid-full" if name == "grid" else name


def find_sources(preset: str, outputs: Path) -> list[Path]:
    """Finished runs of continual TD-MPC and of DRAGO that a preset builds on, by seed."""
    found = []
    for method in METHODS:
        folders_of = {
            int(match[1]): path
            for path in outputs.glob(f"{method}-{stream_of(preset)}-s*")
            if (match := re.fullmatch(r".*-s(\d+)", path.name))
        }
        found += [folders_of[seed] for seed in sorted(folders_of) if is_finished(folders_of[seed])]
    return found


def _load_sources(given: list[str], preset: str, outputs: Path, base: RunConfig) -> list[Run]:
    """The source runs, each fit to be built on, one of each method and seed."""
    places = [ROOT / text for text in given] or find_sources(preset, outputs)
    if not places:
        commands = " and ".join(_command(f"{method}-{stream_of(preset)}") for method in METHODS)
        raise UserError(
            f"no finished run in '{shown(outputs)}' that preset '{preset}' could build on; make "
            f"them with {commands}, or name others with sources"
        )
    runs = [results.load_run(shown(place)) for place in places]
    seen: dict[tuple[str, int], Run] = {}
    for run in runs:
        _check_fits(run, preset, base)
        if twin := seen.get((run.method, run.seed)):
            raise UserError(
                f"'{twin.folder}' and '{run.folder}' are both runs of {run.method} with seed "
                f"{run.seed}; name one of them"
            )
        seen[run.method, run.seed] = run
    return runs


def _check_fits(run: Run, preset: str, mine: RunConfig) -> None:
    """Raises UserError where a run's world model cannot be that of a trial."""
    path = warm_start.checkpoint_of(str(run.folder))
    theirs = warm_start.written_by(checkpoint.load_meta(path), path)
    if theirs.method.carry == "nothing":
        raise UserError(
            f"'{run.folder}' is a run of '{run.method}', which starts every task from nothing, so "
            "its world model knows the last one only; name runs of a continual method"
        )
    if theirs.env.domain != mine.env.domain:
        raise UserError(
            f"'{run.folder}' is a run on the {theirs.env.domain}, but preset '{preset}' is about "
            f"the {mine.env.domain}; choose a preset of the {theirs.env.domain}, or other sources"
        )
    warm_start.check_same_world(mine, theirs, path, warm_start.MEANING)
    one, other = (
        {"model": cfg["model"], "vae": {key: cfg["vae"][key] for key in ("code", "width")}}
        for cfg in map(configs.to_dict, (theirs, mine))
    )
    if different := differences(one, other):
        raise UserError(
            f"'{run.folder}' has other networks than preset '{preset}' ({'; '.join(different)}); "
            f"name runs of {stream_of(preset)}, or a preset that fits"
        )


def _seeds(given: list[int], runs: list[Run]) -> list[int]:
    """The seeds asked for, or all that every method has a source of."""
    by_method: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_method.setdefault(run.method, {})[run.seed] = run
    if not given:
        shared = set.intersection(*map(set, by_method.values()))
        if not shared:
            have = "; ".join(f"{name} has {sorted(held)}" for name, held in by_method.items())
            raise UserError(f"no seed that every method has a source of: {have}; add sources")
        return sorted(shared)
    for seed in given:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"seed {seed!r} is no whole number of 0 or more")
        for method, held in by_method.items():
            if seed not in held:
                first = next(iter(held.values()))
                raise UserError(
                    f"no source of {method} with seed {seed}; make it with "
                    f"{_command(first.name, seed)}, and name it where you name the others"
                )
    return list(dict.fromkeys(given))


def _acts_first(task: Any, place: str, runs: list[Run], base: RunConfig) -> str:
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
    out: Path,
    entry: Any,
    task: str,
    start: str,
    seed: int,
    runs: list[Run],
    acting: str,
) -> Trial:
    """One cell of the table. Raises UserError where its folder holds something else."""
    source = _source(runs, start, seed)
    parameters = run_config.PARAMETERS | {
        **{key: given[key] for key in SHARED},
        "name": f"{given['preset']}-{_short(task)}-{start}",
        "method": LEARNER if source else NOTHING,
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


def _source(runs: Iterable[Run], start: str, seed: int) -> Run | None:
    return next((run for run in runs if (run.method, run.seed) == (start, seed)), None)


def _command(name: str, seed: int = 0) -> str:
    return f"'python -m lib run {name} -p seed={seed}'"


def _short(name: str) -> str:
    """A control task's name without its domain, a room's as it is."""
    return re.sub(r"^(cheetah|walker)-", "", name)


def is_finished(folder: Path) -> bool:
    """Whether a run folder holds a finished run."""
    return folders.summary(folder).get("status") == "complete"


# Running ------------------------------------------------------------------------------------


def write_request(study: Study) -> None:
    """Writes down in the comparison's folder what it is, for `resume`, `list` and `clean`."""
    study.out.mkdir(parents=True, exist_ok=True)
    runs = [str(trial.folder.relative_to(study.out)) for trial in study.trials]
    record = {"parameters": study.parameters, "runs": runs}
    atomic_write(study.out / folders.TRANSFER, yaml.safe_dump(record, sort_keys=False))


def run(study: Study, *, video: str = "", tensorboard: bool = True, progress: bool = False) -> None:
    """Trains every trial in turn; finished ones are passed over, unfinished ones go on.

    A file named `stop` in the comparison's folder stops it, as it stops a run in a run's folder.
    A trial whose losses stop being finite is left out, and the others go on.

    Raises:
        RunInterrupted: somebody asked for a stop; what was learnt is saved.
    """
    write_request(study)
    for number, trial in enumerate(study.trials, 1):
        which = f"{number} of {len(study.trials)}: {trial}"
        try:
            with _stopping_with(study.out / "stop", trial.folder):
                train(
                    trial.config,
                    trial.folder,
                    **{key: trial.parameters[key] for key in params.KEPT},
                    video=video,
                    tensorboard=tensorboard,
                    progress=progress,
                )
        except NonFiniteError as error:
            print(f"{which}: left out, {error}")
        except RunInterrupted:
            (study.out / "stop").unlink(missing_ok=True)
            raise RunInterrupted(
                f"stopped in run {which}, saved; resume with: python -m lib resume "
                f"{from_root(study.out)}"
            ) from None
        else:
            (final,) = folders.summary(trial.folder)["final_return"].values()
            print(f"{which}: final return {final:.1f}")


@contextmanager
def _stopping_with(stop: Path, folder: Path) -> Iterator[None]:
    """Lets the stop file of the whole comparison be that of one of its runs, by a link."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "stop"
    link.unlink(missing_ok=True)  # left by a process that was killed
    link.symlink_to(os.path.relpath(stop, folder))
    try:
        yield
    finally:
        link.unlink(missing_ok=True)


def progress(study: Study, newer_than: float = 0.0) -> dict[str, Any] | None:
    """Where all trials together stand, as one run's `progress.json` says it; None before that."""
    states = [read_progress(trial.folder / "progress.json") for trial in study.trials]
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
    path = trial.folder / "progress.json"
    return path.stat().st_mtime if path.exists() else 0.0
