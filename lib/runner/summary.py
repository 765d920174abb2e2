"""A run keeps a log of its results, and tells them in `summary.json`."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.core import config as configs
from lib.core.config import RunConfig
from lib.core.files import atomic_write
from lib.core.storage import told_to_the_user
from lib.runner import expected
from lib.runner.provenance import commit, hardware, versions

TASK_SCORE = 1e6  # more than any return, so that a later task's checkpoint beats an earlier one's


@dataclass
class Log:
    """The results of a run in the order they came.

    Rows of the return matrix end at the task just learnt. Curves have what was evaluated over how
    far the task was, in `unit`.
    """

    tasks: list[str]
    unit: str = "task_env_steps"  # or "task_updates", where experience comes from files
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    # What every evaluation came to on any task: "env_steps" of the whole run, "return", "success".
    monitor: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    matrix: list[list[float | None]] = field(default_factory=list)
    # The same of the share of episodes at the goal in the end, and at any step; None: not known.
    successes: dict[str, list[list[float | None]]] = field(
        default_factory=lambda: {"success": [], "success_any": []}
    )
    audit: list[dict[str, float]] = field(default_factory=list)

    def add_eval(self, task: str, progress: int, mean: float) -> None:
        curve = self.curves.setdefault(task, {self.unit: [], "return": []})
        curve[self.unit].append(progress)
        curve["return"].append(mean)

    def add_monitor(self, task: str, env_steps: int, found: Mapping[str, float]) -> None:
        curve = self.monitor.setdefault(task, {})
        for name, value in {"env_steps": env_steps, **found}.items():
            curve.setdefault(name, []).append(value)

    def score(self) -> float | None:
        """What "best" means for a checkpoint: tasks finished first, then the newest return."""
        if not self.curves:
            return None
        newest = self.curves[list(self.curves)[-1]]["return"][-1]
        return len(self.matrix) * TASK_SCORE + newest

    def evaluated_at(self, task: str, progress: int) -> bool:
        """Whether a task's newest evaluation was at a given point of it."""
        return self.curves.get(task, {self.unit: []})[self.unit][-1:] == [progress]

    def final_return(self) -> dict[str, float]:
        """The learner's last evaluation of each task while that task was being learnt."""
        return {task: curve["return"][-1] for task, curve in self.curves.items()}

    def state_dict(self) -> dict[str, Any]:
        return vars(self)

    def load_state_dict(self, state: dict[str, Any], finished: int, path: Path) -> None:
        """Takes the results that a checkpoint holds.

        Args:
            state: what `state_dict` gave.
            finished: tasks that had been learnt then.
            path: the checkpoint, for messages.

        Raises:
            UserError: it is not what this run would have saved.
        """
        tasks, numbers = len(self.tasks), expected.each(expected.NUMBER)
        if isinstance(state, Mapping) and "successes" not in state:  # saved before they were kept
            unknown = [[None] * tasks for _ in range(finished)]
            state = {**state, "successes": {part: list(unknown) for part in self.successes}}
        curves = expected.mapping(expected.record({self.unit: numbers, "return": numbers}))
        row = expected.each(expected.maybe(expected.NUMBER), tasks)
        spec = expected.record(
            {
                "tasks": expected.each(expected.TEXT, tasks),
                "unit": expected.TEXT,
                "curves": curves,
                "monitor": expected.mapping(expected.mapping(numbers)),
                "matrix": expected.each(row, finished),
                "successes": expected.record(
                    {part: expected.each(row, finished) for part in self.successes}
                ),
                "audit": expected.each(expected.mapping(expected.NUMBER), finished),
            }
        )
        expected.check(state, spec, "log", path)
        named = state["tasks"] == self.tasks and state["unit"] == self.unit
        curves = {**state["curves"], **state["monitor"]}.values()
        even = all(len({len(values) for values in curve.values()}) == 1 for curve in curves)
        strange = {*state["curves"], *state["monitor"]} - {*self.tasks}
        if not named or not even or strange or set(state) != set(vars(self)):
            raise expected.damaged(path, "log does not fit the tasks of its run")
        vars(self).update(state)


def write_summary(
    path: Path,
    cfg: RunConfig,
    log: Log,
    *,
    status: str,
    optimum: dict[str, float | None],
    optimum_is: str,
    dropped: int,
    env_steps: int,
    decisions: int,
    updates: int,
    seconds: float,
    together: int,
    device: torch.device,
) -> None:
    """Writes `summary.json` to a path, atomically. Fields are listed in the README."""
    summary = {
        "name": cfg.name,
        "method": cfg.method_name,
        "preset": cfg.preset,
        "seeds": [cfg.seed],
        "status": status,
        "env_steps": env_steps,
        "decisions": decisions,
        "updates": updates,
        "dropped_episodes": dropped,
        "wall_clock_s": round(seconds, 1),
        "seeds_together": together,
        "hardware": hardware() | {"device": str(device)},
        "commit": commit(),
        "versions": versions(),
        "tasks": log.tasks,
        "optimum": optimum,
        "optimum_is": optimum_is,
        "prepares": cfg.prepares,
        "return_matrix": log.matrix,
        "success_matrix": log.successes["success"],
        "success_any_matrix": log.successes["success_any"],
        "final_return": log.final_return(),
        "curves": log.curves,
        "monitor": log.monitor,
        "audit": log.audit,
        "config": configs.to_dict(cfg),
    }
    atomic_write(path, json.dumps(summary, indent=1) + "\n")


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a compressed .npz atomically."""
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    with told_to_the_user(path):
        path.parent.mkdir(exist_ok=True)
    atomic_write(path, packed.getvalue())
