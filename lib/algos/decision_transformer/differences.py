"""Methods are a table of differences: what learns, where it acts, and who tells the task."""

from typing import NamedTuple

import torch

from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators import KNOWN, ModulatorsConfig
from lib.algos.decision_transformer.modulators.api import Context, Modulator
from lib.algos.decision_transformer.presets import ABOUT, METHODS
from lib.algos.decision_transformer.settings import SequenceRun
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.core import config

TOLD = "told (oracle)"


class Difference(NamedTuple):
    """One method."""

    method: str
    about: str
    acts: str  # where it changes what is computed
    task: str  # how it knows which task it acts
    learning: int  # numbers that learn in a task
    each: int  # numbers that are kept for one more task


HEADER = ("method", "where it acts", "which task", "learn in a task", "kept for one more task")


def differences(model: ModelConfig | None = None, tasks: int = 10) -> list[Difference]:
    """Returns a row for every method.

    Args:
        model: sizes; the published model's if not given.
        tasks: of the stream; more make no difference but for methods that share by them.
    """
    cfg = model or ModelConfig()
    with torch.device("meta"):  # shapes alone: nothing is drawn
        base = DecisionTransformer(cfg, None)
    rows = []
    for method, changes in METHODS.items():
        run = config.merge(SequenceRun(), changes)
        one, more = (_made(run, cfg, count) for count in (tasks, tasks + 1))
        one.task = 0
        learning = sum(p.numel() for p in one.trained(base).values())
        told = TOLD if one.labelled else _inferred(one)
        each = _numbers(more) - _numbers(one) + one.grows(base)
        rows.append(Difference(method, ABOUT[method], one.acts, told, learning, each))
    return rows


def _made(run: SequenceRun, cfg: ModelConfig, tasks: int) -> Modulator:
    settings: ModulatorsConfig = run.modulators
    kind = run.modulator.kind
    context = Context(cfg, tasks, None)
    with torch.device("meta"):
        return KNOWN[kind](getattr(settings, kind, None), context)


def _inferred(one: Modulator) -> str:
    if one.infers:
        return "inferred"
    return "by keys" if one.chooses else "acts all alike"


def _numbers(one: Modulator) -> int:
    held = [*one.parameters(), *one.buffers()]
    return sum(p.numel() for p in held)


def table(rows: list[Difference]) -> list[list[str]]:
    """Returns the rows of a table under `HEADER`."""
    return [[row.method, row.acts, row.task, f"{row.learning:,}", f"{row.each:,}"] for row in rows]
