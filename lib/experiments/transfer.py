"""Prepares comparisons of what is handed to new tasks.

A comparison is a table of *trials*: every task, learnt from every *start*, with every seed. A start
is what a learner begins with. Here that is nothing ("scratch"), or the world model of a finished
run, and then it is called after that run's method; all else is the same: learner, budget, seed, and
where episodes begin. In a comparison that has a file, starts are `arms`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.algos import registry
from lib.algos.api import TransferStudy
from lib.core.config import RunConfig
from lib.core.errors import UserError
from lib.core.paths import ROOT, from_root, shown
from lib.envs import worlds
from lib.experiments import arms, folders, params, run_config, sources, studies
from lib.experiments.sources import Source
from lib.experiments.trials import NOTHING, Study, Trial
from lib.runner import contents, warm_start
from lib.runner.run_folder import differences

PARAMETERS: dict[str, Any] = {
    # What notebooks/10_transfer.py may be given, with its default.
    "study": "",
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


def prepare(parameters: Mapping[str, Any], outputs: Path) -> Study:
    """Lists every run that a comparison takes, and checks them before the first one starts.

    Args:
        parameters: see `PARAMETERS`; paths in it count from the repository's root.
        outputs: folder where sources are looked for, and where the result goes if no `out_dir`
            is given.

    Raises:
        UserError: what `arms.prepare` raises, an unknown name, a source that is missing,
            unfinished, of another world or with other networks, nobody to act first in a task such
            as jump2run, or a folder that holds something else.
    """
    run_config.check_parameters(parameters, PARAMETERS)
    given = PARAMETERS | dict(parameters)
    if given["study"]:
        preset = studies.read(given["study"]).preset
        if given["preset"] not in (preset, PARAMETERS["preset"]):
            raise UserError(
                f"preset '{given['preset']}': study '{given['study']}' is one of '{preset}'; leave "
                "the preset out"
            )
        return arms.prepare(given, outputs)
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
