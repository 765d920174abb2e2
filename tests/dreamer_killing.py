"""Processes that train a Dreamer and die within an episode, as in a power cut."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lib.algos import registry
from lib.core import config
from lib.envs.ending import EndingBatch
from lib.runner import training
from tests.killing import at_one_pace


def train(
    settings: dict[str, Any],
    out: str,
    die_at: int = 0,
    seeds: tuple[int, ...] = (),
    world: type = EndingBatch,
    start: Mapping[str, str] | None = None,
) -> None:
    """Trains or resumes a run; dies before the given step of its world, if there are as many.

    Args:
        die_at: counts calls of the world's `step` in this process, evaluations too; 0 lives on.
        seeds: of several runs together, each in a folder of that name within `out`.
        world: whose steps are counted.
        start: what the runs start from, as `training.train_seeds` takes it.
    """
    torch.set_num_threads(1)
    at_one_pace()
    if die_at:
        original, seen = world.step, []

        def step(self: Any, action: torch.Tensor, only: torch.Tensor | None = None) -> Any:
            seen.append(1)
            if len(seen) == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, action, only)

        world.step = step
    run = registry.from_dict(settings)
    how = {"tensorboard": False, "progress": False, **(start or {})}
    if not seeds:
        training.train(run, out, **how)
        return
    cfgs = [config.merge(run, {"seed": seed}) for seed in seeds]
    folders = [Path(out) / str(seed) for seed in seeds]
    training.train_seeds(cfgs, folders, out, **how)
