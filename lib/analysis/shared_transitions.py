"""Asks the world models of many runs about the same transitions.

What a run holds out of a task comes from its own agent, so a timid agent asks easier questions.
Here every run's world model answers for what any of the runs held out.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from lib.algos import registry
from lib.analysis.results import Group, Run
from lib.core.metrics import Array
from lib.envs import worlds
from lib.envs.api import Predict
from lib.runner.run_folder import RunFolder
from lib.runner.warm_start import trained_agent

ROWS = 50_000  # transitions predicted at once


def shared_errors(runs: Sequence[Run]) -> Array | None:
    """Returns one-step errors on the transitions that the runs held out, taken together.

    Args:
        runs: finished runs of one world over the same tasks.

    Returns:
        (runs, tasks, tasks) [r, k, j]: mean squared error of run r's world model after task k on
        everything held out of task j, NaN where j > k. None where nothing was held out, as in
        the grid, where the checkpoints are gone, or where a world model cannot be asked about
        single transitions.
    """
    tasks = len(runs[0].tasks)
    held_out = [_held_out(runs, task) for task in range(tasks)]
    paths = [[RunFolder(run.folder).task_checkpoint(k) for k in range(tasks)] for run in runs]
    if any(rows is None for rows in held_out) or not all(p.exists() for row in paths for p in row):
        return None
    errors = np.full((len(runs), tasks, tasks), np.nan)
    cfg = registry.from_dict(runs[0].summary["config"])
    width = worlds.build(cfg.env, cfg.tasks).obs_dim
    for r in range(len(runs)):
        for k in range(tasks):
            agent = trained_agent(paths[r][k], torch.device("cpu"))
            predict = agent.capabilities().predict
            if predict is None:
                return None
            for j in range(k + 1):
                errors[r, k, j] = _error(predict, held_out[j], width)
    return errors


def errors_by_group(groups: Sequence[Group]) -> Mapping[str, Array]:
    """Returns the same by label of a group, (seeds, tasks, tasks) each; empty without answers."""
    runs = [run for group in groups for run in group.runs]
    errors = shared_errors(runs)
    if errors is None:
        return {}
    ends = np.cumsum([len(group.runs) for group in groups])
    parts = np.split(errors, ends[:-1])
    return {group.label: part for group, part in zip(groups, parts, strict=True)}


def _held_out(runs: Sequence[Run], task: int) -> torch.Tensor | None:
    """Returns (N, L + A + L) transitions of one task from all runs, None where there are none."""
    found = []
    for run in runs:
        rows = run.audit_arrays(len(run.tasks) - 1).get("held_out")
        if rows is None:
            return None
        rows = torch.from_numpy(np.asarray(rows[task]))
        found.append(rows[torch.isfinite(rows).all(1)])
    return torch.cat(found)


def _error(predict: Predict, rows: torch.Tensor, obs_dim: int) -> float:
    total = 0.0
    for part in rows.split(ROWS):
        obs, action, after = part.split((obs_dim, part.shape[1] - 2 * obs_dim, obs_dim), 1)
        total += float((predict(obs, action) - after).square().mean(1).sum())
    return total / len(rows)
