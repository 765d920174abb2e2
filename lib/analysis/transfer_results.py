"""Reads a comparison on new tasks: its finished runs as groups, tables and numbers."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from lib.algos import registry
from lib.analysis import results
from lib.analysis.results import Group, Run
from lib.core import metrics
from lib.core.errors import UserError
from lib.core.paths import shown
from lib.core.seeding import Streams
from lib.experiments import summaries
from lib.experiments.sources import Source
from lib.experiments.summaries import is_finished
from lib.experiments.trials import NOTHING, Study, Trial
from lib.runner import checkpoint, warm_start
from lib.runner.run_folder import RunFolder


def load(study: Study) -> dict[str, list[Group]]:
    """Returns finished trials: for each task a group of runs for each start, labelled with it.

    Raises:
        UserError: there is none.
    """
    found: dict[str, list[Group]] = {}
    for task in study.tasks:
        for start in study.starts:
            trials = [t for t in study.trials if (t.task, t.start) == (task, start)]
            runs = [results.load_run(t.folder) for t in trials if is_finished(t.folder)]
            if runs:
                found.setdefault(task, []).append(Group(start, tuple(runs)))
    if not found:
        raise UserError(f"none of the {len(study.trials)} runs in '{shown(study.out)}' is finished")
    return found


def table(
    study: Study, found: Mapping[str, list[Group]], number: Callable[[Run], float]
) -> dict[str, metrics.Array]:
    """Returns a number of every trial: start -> (seeds, tasks), NaN where a trial is not finished.

    Args:
        found: what `load` returned.
        number: of a run, such as `few_shot`.
    """
    seeds, tasks = study.parameters["seeds"], study.tasks
    out = {start: np.full((len(seeds), len(tasks)), np.nan) for start in study.starts}
    for task, groups in found.items():
        for group in groups:
            for run in group.runs:
                out[group.label][seeds.index(run.seed), tasks.index(task)] = number(run)
    return out


def over_seeds(values: metrics.Array) -> metrics.Array:
    """Returns (tasks,) means of (seeds, tasks) over finished seeds; NaN where none is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, known.sum(0), out=np.full(len(total), np.nan), where=known.any(0))


def gains(areas: Mapping[str, metrics.Array]) -> dict[str, metrics.Array]:
    """Returns the forward transfer of every start but scratch, against the mean area of scratch.

    Args:
        areas: start -> (seeds, tasks), as `table` returns it for `area`.
    """
    reference = over_seeds(areas[NOTHING])
    return {
        start: metrics.forward_transfer(values, np.broadcast_to(reference, values.shape))
        for start, values in areas.items()
        if start != NOTHING
    }


def first_return(run: Run) -> float:
    """Returns return of the first evaluation, before any update."""
    return float(run.curves[run.tasks[0]][1][0])


def last_return(run: Run) -> float:
    """Returns return of the last evaluation."""
    return float(run.final_return[0])


def area(run: Run) -> float:
    """Returns the area under the learning curve, 1 for what counts as 100 % from the start.

    NaN where returns are negative, of which there are no shares.
    """
    _, returns = run.curves[run.tasks[0]]
    return float(run.areas()[0]) if np.min(returns) >= 0 else float("nan")


def mean_return(run: Run) -> float:
    """Returns the same area as a return: the mean over env steps [task units]."""
    return metrics.area_under_curve(*run.curves[run.tasks[0]])


def few_shot(run: Run, episodes: int) -> float:
    """Returns the return after so many episodes, on a straight line between evaluations.

    NaN if the run is shorter.
    """
    steps, returns = run.curves[run.tasks[0]]
    at = episodes * run.summary["config"]["env"]["episode_length"]
    return float(np.interp(at, steps, returns)) if at <= steps[-1] else float("nan")


def best_trial(study: Study, task: str, seed: int) -> Trial | None:
    """Returns the finished trial of a task and seed that ended with the highest return."""
    trials = [t for t in study.trials if (t.task, t.seed) == (task, seed) and is_finished(t.folder)]
    final = {t.start: summaries.summary(t.folder)["final_return"][task] for t in trials}
    return max(trials, key=lambda trial: final[trial.start], default=None)


def foreknowledge(trial: Trial, source: Source | None) -> dict[str, float]:
    """Returns what a world model says about a finished trial's transitions, which it never saw.

    Args:
        trial: whose transitions; in a grid all that it met, else those of its last evaluation.
        source: the run whose world model is asked, as it was at that run's end; None asks one
            that has learnt nothing.

    Returns:
        Metrics as in the audit of a run, such as audit/met-cheetah-jump2run/mse.
    """
    device = torch.device("cpu")
    agent, domain = registry.build(trial.config, Streams(trial.seed, device), device)
    if source is not None:
        path = warm_start.checkpoint_of(str(source.folder))
        held, _ = warm_start.load(agent, path, with_heads=False)
        warm_start.transfer_of(agent).load_world_model(held["world_model"])
    state, _ = checkpoint.load(RunFolder(trial.folder).last_checkpoint)
    with torch.no_grad():
        found, _ = domain.audit(state["held_out"], agent.capabilities().predict)
    return {name: value for name, value in found.items() if name.startswith("audit/met-")}
