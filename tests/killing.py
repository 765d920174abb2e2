"""Processes that train runs and are killed on the way, as a power cut would."""

import importlib
import math
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lib.algos import registry
from lib.algos.tdmpc import agent as tdmpc_agent
from lib.core import config, files
from lib.engine import seed_batch
from lib.runner import evaluate, loop, training
from lib.runner.record import Recorder

PATIENCE = 600  # [s] after which a test gives up on a process; nothing that it checks depends on it


def processes() -> Any:
    """A context whose children start from one process that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    modules = ["lib.runner.training", "lib.envs.gym.minigrid", "tests.killing", "torch._dynamo"]
    context.set_forkserver_preload(modules)
    return context


def until_done(start: Callable[[int], Any]) -> None:
    """Starts one process after another, each killed on its way, until one lives to the end.

    Args:
        start: how many were killed before, to a process that was started.
    """
    kills = 0
    while True:
        child = start(kills)
        child.join(PATIENCE)
        if child.exitcode == 0:
            break
        assert child.exitcode == -9
        kills += 1
        assert kills < 50, "no process got far enough to save"
    assert kills >= 2


def train(
    settings: dict[str, Any],
    out: str,
    kill_at: int = 0,
    half_written: bool = False,
    seeds: tuple[int, ...] = (),
    world: str = "",
) -> None:
    """Trains or resumes a run; dies at the given event of this process, if there are as many.

    Args:
        kill_at: number of the event; see `_events`. 0 lives on.
        half_written: instead die in the middle of writing that checkpoint file.
        seeds: of several runs together, each in a folder of that name within `out`.
        world: module that registers a family and has its `World`, where that is a test's own.
    """
    domain = importlib.import_module(world).World() if world else None
    torch.set_num_threads(1)
    at_one_pace()
    if half_written:
        _die_half_way(kill_at)
    elif kill_at:
        _die_at(kill_at)
    run = registry.from_dict(settings)
    how = {"tensorboard": False, "progress": False, "domain": domain}
    if not seeds:
        training.train(run, out, **how)
        return
    cfgs = [config.merge(run, {"seed": seed}) for seed in seeds]
    folders = [Path(out) / str(seed) for seed in seeds]
    training.train_seeds(cfgs, folders, out, **how)


def at_one_pace() -> None:
    """Makes a training loop look and save as often on every machine, whatever its speed."""
    loop.CHUNK_SECONDS = loop.SAVE_SECONDS = math.inf


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _events() -> list[tuple[Any, str]]:
    """Names the calls around which a process may die: those that reach the disk or work."""
    disk = [(os, name) for name in ("fsync", "replace", "link")]
    work = [
        (evaluate, "play_batch"),
        (seed_batch.SeedBatch, "update"),
        (seed_batch.OneByOne, "update"),
        (tdmpc_agent.ContinualAgent, "begin_task"),
    ]
    return [*disk, (Recorder, "write"), *work]


def _die_at(number: int) -> None:
    seen = 0

    def counted(original: Callable) -> Callable:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            for call in (lambda: original(*args, **kwargs), None):
                seen += 1
                if seen == number:
                    _die()
                if call:
                    answer = call()
            return answer

        return wrapper

    for owner, name in _events():
        setattr(owner, name, counted(getattr(owner, name)))


def _die_half_way(number: int) -> None:
    """Makes the given checkpoint of this process stop after half of its bytes."""
    seen = 0

    class HalfFile:
        def __init__(self, path: Path):
            self.file = open(path, "wb")  # noqa: SIM115 (the process dies with it)

        def __enter__(self) -> "HalfFile":
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, data: bytes) -> None:
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            _die()

    def opened(path: Any, mode: str, **how: Any) -> Any:
        nonlocal seen
        if mode != "wb" or "safetensors" not in str(path):
            return open(path, mode, **how)
        seen += 1
        return HalfFile(path) if seen == number else open(path, mode, **how)

    files.open = opened
