"""Environments: the grid's table against Minigrid, bodies and their pictures against dm_control."""

from collections.abc import Iterator

import torch

from lib.envs import worlds
from lib.envs.grid.env import FourRooms
from lib.envs.grid.rooms import named_tasks
from lib.envs.grid.table import GridBatch, GridTable
from tests.benchmarks import control, pixels, sources
from tests.benchmarks.engine import Engine, count
from tests.benchmarks.learners import Size
from tests.benchmarks.measure import Effort, Form, Found, Line, compare, one_thread

SIDE = 27  # cells, the published grid
MOVES = 100  # of Minigrid in one measured call
COPIES = (1, 64, 4_096)


def grid(copies: int, device: torch.device, effort: Effort, side: int = SIDE) -> Found:
    """Env steps per second of Minigrid itself and of copies of the table, actions at hand."""
    real = FourRooms(side)
    real.reset(seed=0)
    draws = torch.Generator().manual_seed(0)
    moves = torch.randint(3, (MOVES,), generator=draws).tolist()

    def step_all() -> None:
        real.reset()
        for move in moves:
            real.step(move)

    batch = GridBatch(GridTable.build(side, device=device), named_tasks(side)["room-1"])
    batch.reset(copies, torch.Generator(device).manual_seed(0))
    actions = batch.actions.random(copies, torch.Generator(device).manual_seed(0), device)
    fast = Form(lambda: batch.step(actions), copies, settled=one_thread)
    return compare(Form(step_all, len(moves), settled=one_thread), fast, device, effort)


def steps(size: Size, device: torch.device, effort: Effort) -> Found:
    """Env steps per second of a preset's world, 64 copies of it in the fast form."""
    cfg = size.config()
    if cfg.env.domain == "grid":
        return grid(64, device, effort, cfg.env.size)
    task = worlds.resolve(cfg.env, cfg.tasks)[0]
    return control.bodies(task.name, 64, None, effort)


def stepping(engine: Engine, peak: float) -> Iterator[Line]:
    """Rows of all worlds."""
    for copies in COPIES:
        name = f"{SIDE} x {SIDE} cells, {count(copies, 'copy')}"
        yield grid(copies, engine.device, engine.scale.effort).rate(name, "env steps/s")
    yield from control.measure(engine.scale.bodies, effort=engine.scale.effort)
    yield from pixels.measure(engine.scale.effort)
    yield from sources.measure(engine.scale.effort)
