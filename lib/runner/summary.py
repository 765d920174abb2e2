"""What a run reports about itself: its log of results so far, and `summary.json`."""

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
from lib.runner.provenance import commit, hardware, versions


@dataclass
class Log:
    """Results in the order they came. Rows of the return matrix end at the task just learnt."""

    tasks: list[str]
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    # What every evaluation came to on any task: "env_steps" of the whole run, "return", "success".
    monitor: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    matrix: list[list[float | None]] = field(default_factory=list)
    audit: list[dict[str, float]] = field(default_factory=list)

    def add_eval(self, task: str, task_env_steps: int, mean: float) -> None:
        curve = self.curves.setdefault(task, {"task_env_steps": [], "return": []})
        curve["task_env_steps"].append(task_env_steps)
        curve["return"].append(mean)

    def add_monitor(self, task: str, env_steps: int, found: Mapping[str, float]) -> None:
        curve = self.monitor.setdefault(task, {})
        for name, value in {"env_steps": env_steps, **found}.items():
            curve.setdefault(name, []).append(value)

    def add_task(self, row: list[float | None], metrics: dict[str, float]) -> None:
        self.matrix.append(row)
        self.audit.append(metrics)

    def score(self) -> float | None:
        """What "best" means for a checkpoint: tasks finished first, then the newest return."""
        if not self.curves:
            return None
        newest = self.curves[list(self.curves)[-1]]["return"][-1]
        return len(self.matrix) * 1e6 + newest

    def final_return(self) -> dict[str, float]:
        """The learner's last evaluation of each task while that task was being learnt."""
        return {task: curve["return"][-1] for task, curve in self.curves.items()}

    def state_dict(self) -> dict[str, Any]:
        return vars(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Log":
        return cls(**state)


def is_complete(out: Path) -> bool:
    """Whether a run folder's summary says that the run reached its end."""
    path = out / "summary.json"
    return path.exists() and json.loads(path.read_text()).get("status") == "complete"


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of settings that differ, each with both values."""
    found = []
    for key in sorted(one.keys() | other.keys()):
        left, right = one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append(f"{prefix}{key} is {left!r} there, {right!r} here")
    return found


def write_summary(
    out: Path,
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
    """Writes `summary.json`, atomically. Fields are listed in the README."""
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
        "return_matrix": log.matrix,
        "final_return": log.final_return(),
        "curves": log.curves,
        "monitor": log.monitor,
        "audit": log.audit,
        "config": configs.to_dict(cfg),
    }
    atomic_write(out / "summary.json", json.dumps(summary, indent=1) + "\n")


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a compressed .npz atomically."""
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, packed.getvalue())
