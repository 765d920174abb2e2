"""Computes what a reviewer is paid for every transition of a grid, of models or of a run.

Letters: S states, A actions. A grid has S / 4 cells with four headings each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.algos import registry
from lib.algos.api import ReviewRule
from lib.analysis import results
from lib.core import losses
from lib.core.config import RunConfig
from lib.core.errors import UserError, unknown
from lib.envs import worlds
from lib.envs.api import Predict
from lib.envs.grid.env import ACTIONS, HEADINGS
from lib.envs.grid.table import GridTable
from lib.plotting import maps
from lib.runner import checkpoint, warm_start
from lib.runner.run_folder import RunFolder

NO_REVIEWER = "has no reviewer: its method is '{}'; take a run of drago or drago-no-rehearsal"
ROLES = ("learner", "reviewer")


@dataclass(frozen=True, eq=False)
class Review:
    """Holds an old and a current model's errors at one moment, and what they pay a reviewer."""

    name: str  # the moment, for example "room-2, at its end"
    cells: np.ndarray  # (S / 4, 2) x and y
    old: np.ndarray  # (S, A) error of the frozen model
    now: np.ndarray  # (S, A) error of the current one
    rule: ReviewRule  # how the reviewer of this task is paid
    visits: Mapping[str, np.ndarray] = field(default_factory=dict)  # role -> (S / 4,) times

    def parts(self, threshold: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns what is gained for what was known and lost for what still is, each (S, A)."""
        found = losses.review_parts(
            torch.as_tensor(self.old),
            torch.as_tensor(self.now),
            self.rule.threshold if threshold is None else threshold,
            sharpness=self.rule.sharpness,
            cost=self.rule.cost,
            shape=self.rule.shape,
        )
        return found[0].numpy(), found[1].numpy()

    def reward(self, threshold: float | None = None) -> np.ndarray:
        """Returns (S, A): the difference of the two."""
        known, cost = self.parts(threshold)
        return known - cost

    def paid(self, threshold: float | None = None) -> np.ndarray:
        """Returns (S / 4,) bool: cells whose transitions pay more than nothing on average."""
        return maps.per_cell(self.reward(threshold)) > 0


@torch.no_grad()
def compare(
    name: str,
    table: GridTable,
    old: Predict,
    now: Predict,
    rule: ReviewRule,
    visits: Mapping[str, np.ndarray] | None = None,
) -> Review:
    """Asks both models for every transition at once."""
    obs, action, truth = table.transitions()
    old_error, now_error = (
        losses.model_error(model(obs, action), truth, rule.norm).view(-1, ACTIONS).cpu().numpy()
        for model in (old, now)
    )
    cells = table.cells.cpu().numpy()
    return Review(name, cells, old_error, now_error, rule, visits or {})


def visits_of(table: GridTable, obs: Tensor) -> np.ndarray:
    """Returns (..., L) to (S / 4,): how often each cell was seen."""
    cell = table.nearest(obs).flatten() // HEADINGS
    return torch.bincount(cell, minlength=table.states // HEADINGS).cpu().numpy()


def model_of(folder: str | Path, learnt: int) -> tuple[Predict, ReviewRule]:
    """Returns a run's world model when so many tasks had been learnt, and the next reviewer's rule.

    Raises:
        UserError: no such checkpoint, one of another layout, or an agent without such a model.
    """
    agent = warm_start.trained_agent(_path(Path(folder), learnt), torch.device("cpu"))
    can = agent.capabilities()
    if not (can.predict and can.review_rule):
        raise UserError(f"run '{folder}' {NO_REVIEWER.format(agent.cfg.method_name)}")
    return can.predict, can.review_rule


def episodes_of(folder: str | Path) -> tuple[int, dict[str, Tensor]]:
    """Returns what the last checkpoint of a run still holds in replay, oldest episode first.

    Returns:
        Which task it is of, 0 for the first, and role -> (episodes, T + 1, L); nothing where the
        task had no reviewer.

    Raises:
        UserError: no checkpoint.
    """
    path = RunFolder(Path(folder)).last_checkpoint
    agent = checkpoint.load(path)[0].get("agent", {})
    if not agent.get("reviewer"):
        return agent.get("task", -1), {}
    buffers = {role: agent[role]["buffer"] for role in ROLES}
    found = {role: held["obs"].roll(-held["next"], 0) for role, held in buffers.items()}
    return agent["task"], found


def of_run(folder: str | Path, after: str = "") -> list[Review]:
    """Returns every reviewed task of a finished run, as it began and as it ended.

    As a task begins, the current model is the old one. Who was where is known of the last task
    alone, whose replay is still there.

    Args:
        after: name of a task; left out, all that had a reviewer.

    Raises:
        UserError: no finished run, one without a reviewer, or not on the grid.
    """
    run = results.load_run(folder)
    cfg = registry.from_dict(run.summary["config"])
    _check_reviewed(folder, cfg, model_of(run.folder, 1)[1])
    domain = worlds.build(cfg.env, cfg.tasks)
    names = [task.name for task in domain.tasks]
    if after and after not in names[1:]:
        raise unknown("reviewed task", after, names[1:], "the first task has no reviewer")
    found = []
    for index, name in enumerate(names[1:], 1):
        if after and name != after:
            continue
        old, rule = model_of(run.folder, index)
        now, _ = model_of(run.folder, index + 1)
        visits = _visits(run.folder, index, domain.table)
        for moment, current in (("as it begins", old), ("at its end", now)):
            said = f"{name}, {moment}"
            seen = visits if current is now else {}
            found.append(compare(said, domain.table, old, current, rule, seen))
    return found


def _check_reviewed(folder: str | Path, cfg: RunConfig, rule: ReviewRule) -> None:
    """Raises UserError unless a run like this one has a reviewer, on a grid."""
    if not rule.used:
        raise UserError(f"run '{folder}' {NO_REVIEWER.format(cfg.method_name)}")
    if not worlds.of(cfg.env).tabular:
        raise UserError(
            f"run '{folder}' is of the {cfg.env.domain}; a reviewer's reward is drawn on the grid "
            "alone, where every transition can be asked about"
        )
    if len(cfg.tasks) < 2:
        raise UserError(
            f"run '{folder}' has one task; a reviewer begins with the second: give `tasks` two"
        )


def _path(folder: Path, task: int) -> Path:
    return RunFolder(folder).task_checkpoint(task - 1)


def _visits(folder: Path, task: int, table: GridTable) -> dict[str, np.ndarray]:
    """Returns where each role's episodes went, of a task that the last checkpoint still holds."""
    if not RunFolder(folder).last_checkpoint.is_file():
        return {}
    held, episodes = episodes_of(folder)
    return {role: visits_of(table, obs) for role, obs in episodes.items()} if held == task else {}
