"""A sequence model small enough for tests: every size is a different prime where it can be.

B = 5 windows of C = 3 steps, A = 2 action dimensions, S = 11 slots, width 14 of 2 heads, 7 bins.
"""

from pathlib import Path
from typing import Any

import torch

from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.settings import SequenceRun
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.algos.decision_transformer.windows import Window
from lib.core import config
from lib.core.seeding import generator
from lib.envs import worlds
from lib.envs.point_mass.domain import PointDomain
from lib.experiments import data, run_config
from lib.replay.buffer import Episodes

B, C = 5, 3
CFG = ModelConfig(
    layers=2, heads=2, width=14, dropout=0.0, context=C, bins=7, slots=11, actions=2, steps=13
)
SETTINGS = {
    "model.width": 14,
    "model.bins": 7,
    "model.slots": 11,
    "model.context": 3,
    "modulators.hide_lora.windows": 40,
}


def model(seed: int = 0, **changes: Any) -> DecisionTransformer:
    """An untrained model that does not drop anything out."""
    return DecisionTransformer(config.merge(CFG, changes), generator(seed, "init")).eval()


def window(seed: int = 0, padding: int = 0, batch: int = B) -> Window:
    """Random windows, the first steps of which may be padding."""
    draws = generator(seed, "window")
    valid = torch.arange(C).expand(batch, C) >= padding
    number = torch.rand(batch, C, CFG.slots + 2, generator=draws)
    token = torch.randint(CFG.bins, (batch, C, CFG.actions), generator=draws)
    return Window(
        state=number[..., 2:] * valid.unsqueeze(-1),
        to_go=number[..., 0] * valid,
        action=token.masked_fill(~valid.unsqueeze(-1), CFG.bins),
        reward=number[..., 1] * valid,
        time=(torch.arange(C).expand(batch, C) + 4) * valid,
        valid=valid,
        real=torch.ones(batch, CFG.actions, dtype=torch.bool),
    )


def episodes(count: int = 4, steps: int = 6, actions: int = 2, seed: int = 0) -> Episodes:
    """Random episodes of 8 numbers."""
    draws = generator(seed, "episodes")
    return Episodes(
        torch.rand(count, steps + 1, 8, generator=draws),
        torch.rand(count, steps, actions, generator=draws) * 2 - 1,
        torch.rand(count, steps, generator=draws),
    )


def files(folder: Path) -> Path:
    """A few episodes of every task of the point."""
    list(data.make("point-mass", folder, data.Recipe(episodes=11)))
    return folder


def tiny(method: str = "dt-hide-lora", dataset: Path | str = "", **changes: Any) -> SequenceRun:
    """A run of seconds; dotted names with __ for the dot."""
    settings = SETTINGS | {name.replace("__", "."): value for name, value in changes.items()}
    tasks = settings.pop("tasks", [])
    given = {"preset": "point-mass-debug", "method": method, "device": "cpu", "tasks": tasks}
    inherits = settings.pop("inherits", False)
    if inherits:
        given |= {"load_mode": "world-model", "load_from": "somewhere"}
    run = run_config.resolve(given | {"overrides": settings})
    return config.merge(run, {"dataset": str(dataset)})


def world(run: SequenceRun) -> PointDomain:
    """The world of a run."""
    return worlds.build(run.env, run.tasks)
