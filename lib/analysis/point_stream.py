"""Small streams of a pushed point, without run folders: what chapter 09 trains and asks.

Shapes: S tasks of the stream.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.algos import registry
from lib.algos.api import Agent
from lib.core.metrics import Array
from lib.core.seeding import Streams, generator
from lib.envs import worlds
from lib.envs.api import data_parts
from lib.experiments import data, run_config
from lib.replay.buffer import Episodes
from lib.runner import dataset, evaluate

CPU = torch.device("cpu")


def files(folder: str | Path, episodes: int, seed: int) -> Path:
    """Writes files of experience of every task of the point; returns their folder."""
    list(data.make("point-mass", folder, data.Recipe(episodes=episodes, seed=seed)))
    return Path(folder)


def new_agent(
    method: str, tasks: Sequence[str], seed: int = 0, settings: Mapping[str, Any] | None = None
) -> Agent:
    """Returns a fresh agent of the quick preset.

    Args:
        tasks: pre-training first, then the stream.
        settings: others, by their dotted names.
    """
    given = {"preset": "point-mass-quick", "method": method, "device": "cpu", "seed": seed}
    run = run_config.resolve(given | {"tasks": list(tasks), "overrides": dict(settings or {})})
    return registry.build_agent(run, worlds.build(run.env, run.tasks, CPU), Streams(seed), CPU)


def experience(agent: Agent, task: int, folder: Path) -> list[Episodes]:
    """Returns the episodes of a task's files."""
    return [dataset.read(folder, *part).episodes for part in data_parts(agent.domain, task)]


def begin(agent: Agent, task: int, folder: Path) -> None:
    """Crosses a boundary, and hands over the task's files."""
    agent.begin_task(task)
    for episodes in experience(agent, task, folder):
        agent.store("learner", episodes)


def learn(agent: Agent, task: int, folder: Path, marks: int = 0) -> list[dict[str, float]]:
    """Learns a task to its end, begun before or not.

    Args:
        marks: how often training quantities are reported on the way.

    Returns:
        As many reports.
    """
    if agent.task != task:
        begin(agent, task, folder)
    total = agent.cfg.budget.updates_of(task)
    if not marks:
        agent.update(total)
        return []
    told, ends = [], [total * (i + 1) // marks for i in range(marks)]
    for end in ends:
        agent.update(end - agent.updates)
        told.append(agent.report())
    return told


def start_from(agent: Agent, trained: Agent) -> None:
    """Takes the model that another agent pre-trained."""
    agent.begin_task(0)
    parts = trained.state_dict(with_replay=False)["world_model"]
    agent.capabilities().transfer.load_world_model(parts)


def play(agent: Agent, task: int, episodes: int = 50) -> Episodes:
    """Plays evaluation episodes of a task, the same whenever they are asked for."""
    env, draws = agent.domain.make_for_evaluation(task), generator(0, f"chapter/{task}")
    return evaluate.play(agent, env, episodes, draws, explore=False, heads={"task": task})


def success(agent: Agent, task: int, episodes: int = 50) -> float:
    """Returns the share of evaluation episodes that end at the goal."""
    return evaluate.results(play(agent, task, episodes))["success"]


def learn_stream(
    agent: Agent, folder: Path, known: float | None = None, episodes: int = 50
) -> Array:
    """Learns the tasks of a stream one after the other.

    Args:
        known: success on the stream's first task, where the agent has learnt that already.
        episodes: of every evaluation.

    Returns:
        (S, S) success on each task (column) after each (row), NaN above the diagonal.
    """
    first = agent.cfg.prepares
    size = len(agent.domain.tasks) - first
    matrix = np.full((size, size), np.nan)
    if known is not None:
        matrix[0, 0] = known
    for task in range(0 if known is None else 1, size):
        learn(agent, first + task, folder)
        matrix[task, : task + 1] = [
            success(agent, first + one, episodes) for one in range(task + 1)
        ]
    return matrix
