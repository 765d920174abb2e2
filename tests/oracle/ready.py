"""Agents at work for comparisons, and how far two of them are apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.settings import TdmpcRun
from lib.core.seeding import Streams
from lib.core.trees import leaf_map
from lib.replay.buffer import Episodes
from tests.tiny import BOX, PICKS, changed, continuous, flat, invented, tiny

A = TypeVar("A", bound=ContinualAgent)
KINDS = {"discrete": (tiny, PICKS), "continuous": (continuous, BOX)}


def settings(method: str, kind: str, **changes: Any) -> TdmpcRun:
    """A tiny run of a method with one kind of actions."""
    return KINDS[kind][0](method, **changes)


def new(cls: type[A], cfg: TdmpcRun, device: str = "cpu") -> A:
    """An agent of a class in no task yet; what it acts with follows from its model's bounds."""
    actions = PICKS if cfg.model.bounded else BOX
    size = cfg.env.size if actions.discrete else None
    streams, on = Streams(cfg.seed, device), torch.device(device)
    return cls(cfg, 3, actions, cfg.env.episode_length, streams, on, size)


def ready(cls: type[A], cfg: TdmpcRun, task: int = 1, device: str = "cpu") -> A:
    """An agent at work in a task, its replay filled with noise, its networks off their start."""
    agent = new(cls, cfg, device)
    for index in range(task + 1):
        enter(agent, index)
        if index < task:
            agent.update(2)
    agent.running_means.clear()
    return agent


def enter(agent: ContinualAgent, index: int) -> None:
    """Crosses into a task. Last layers start at zero, which would hide mistakes: they move."""
    agent.begin_task(index)
    draws = torch.Generator().manual_seed(index)
    for module in (agent.dynamics, *(agent.actor(role).heads for role in agent.roles)):
        for p in module.parameters():
            p.data.add_(0.1 * torch.randn(p.shape, generator=draws).to(p.device))
    for role in agent.roles:
        agent.store(role, episodes(agent, seed=index))


def episodes(agent: ContinualAgent, seed: int, count: int = 5) -> Episodes:
    """Episodes of noise in the precision of the day."""
    kind = torch.get_default_dtype()
    return Episodes(*(part.to(kind) for part in invented(agent, count, seed)[:3]))


def states(*leading: int) -> Tensor:
    """Observations to plan from, (*leading, 3)."""
    return torch.rand(*leading, 3, generator=torch.Generator().manual_seed(7)) * 2 - 1


def with_seed(cfg: TdmpcRun, seed: int) -> TdmpcRun:
    return changed(cfg, seed=seed)


def copied(state: Any) -> Any:
    """A nested state whose tensors are its own."""
    return leaf_map(torch.clone, state)


def apart(one: Any, other: Any, tolerance: float) -> dict[str, float]:
    """Where two nested states differ: paths and by how much, as a share of max(1, size).

    Whatever is no tensor must be equal; a path that one lacks differs by infinity.
    """
    left, right = flat(one), flat(other)
    found = dict.fromkeys(set(left) ^ set(right), float("inf"))
    for path in set(left) & set(right):
        found[path] = _distance(left[path], right[path])
    return {path: far for path, far in sorted(found.items()) if not far <= tolerance}


def _distance(one: Any, other: Any) -> float:
    if not isinstance(one, Tensor | float):
        return 0.0 if one == other else float("inf")
    one, other = torch.as_tensor(one).double(), torch.as_tensor(other).double()
    if one.shape != other.shape:
        return float("inf")
    far = (one - other).abs() / other.abs().clamp_min(1.0)
    return float(far.max()) if far.numel() else 0.0


@contextmanager
def precision(kind: torch.dtype) -> Iterator[None]:
    """New tensors of floating point have this type within."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
