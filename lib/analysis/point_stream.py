"""Small streams of a pushed point, without run folders: what chapter 09 trains and asks.

Shapes: S tasks of the stream.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.algos import registry
from lib.algos.decision_transformer.agent import SequenceAgent
from lib.algos.decision_transformer.replaying import believed
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
) -> SequenceAgent:
    """Returns a fresh agent of the quick preset.

    Args:
        tasks: pre-training first, then the stream.
        settings: others, by their dotted names.
    """
    given = {"preset": "point-mass-quick", "method": method, "device": "cpu", "seed": seed}
    run = run_config.resolve(given | {"tasks": list(tasks), "overrides": dict(settings or {})})
    return registry.build_agent(run, worlds.build(run.env, run.tasks, CPU), Streams(seed), CPU)


def experience(agent: SequenceAgent, task: int, folder: Path) -> list[Episodes]:
    """Returns the episodes of a task's files."""
    return [dataset.read(folder, *part).episodes for part in data_parts(agent.domain, task)]


def begin(agent: SequenceAgent, task: int, folder: Path) -> None:
    """Crosses a boundary, and hands over the task's files."""
    agent.begin_task(task)
    for episodes in experience(agent, task, folder):
        agent.store("learner", episodes)


def learn(agent: SequenceAgent, task: int, folder: Path, marks: int = 0) -> list[dict[str, float]]:
    """Learns a task to its end.

    Args:
        marks: how often training quantities are reported on the way.

    Returns:
        As many reports.
    """
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


def start_from(agent: SequenceAgent, trained: SequenceAgent) -> None:
    """Takes the model that another agent pre-trained, and what it learnt to ask for."""
    agent.begin_task(0)
    agent.model.load_state_dict(trained.model.state_dict())
    agent.targets.copy_(trained.targets)


def play(agent: SequenceAgent, task: int, episodes: int = 50) -> Episodes:
    """Plays evaluation episodes of a task, the same whenever they are asked for."""
    env, draws = agent.domain.make_for_evaluation(task), generator(0, f"chapter/{task}")
    return evaluate.play(agent, env, episodes, draws, explore=False, heads={"task": task})


def success(agent: SequenceAgent, task: int, episodes: int = 50) -> float:
    """Returns the share of evaluation episodes that end at the goal."""
    return evaluate.results(play(agent, task, episodes))["success"]


def learn_stream(
    agent: SequenceAgent, folder: Path, known: float | None = None, episodes: int = 50
) -> Array:
    """Learns the tasks of a stream one after the other.

    Args:
        known: success on the stream's first task, where the agent has learnt that already.
        episodes: of every evaluation.

    Returns:
        (S, S) success on each task (column) after each (row), NaN above the diagonal.
    """
    first = agent.cfg.pretrain.tasks
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


def gather(agent: SequenceAgent, folder: Path) -> None:
    """Lets an agent that infers tasks look at each of the stream, without learning any."""
    first = agent.cfg.pretrain.tasks
    for task in range(first, len(agent.domain.tasks)):
        begin(agent, task, folder)
        agent.modulator.before_learning(agent.model, agent._data())


def taken_for(agent: SequenceAgent, folder: Path, steps: Sequence[int]) -> dict[int, Array]:
    """Returns for which tasks recorded episodes are taken.

    Args:
        steps: of an episode, after which it is asked.

    Returns:
        Each of these to (S, S), the share of a task's episodes (row) taken for each (column).
    """
    first = agent.cfg.pretrain.tasks
    size = len(agent.domain.tasks) - first
    found = {step: np.zeros((size, size)) for step in steps}
    for task in range(size):
        (one,) = experience(agent, first + task, folder)
        told = believed(agent, first + task, one.obs, one.action, one.reward).argmax(-1)  # (T, K)
        for step, matrix in found.items():
            matrix[task] = torch.bincount(told[step - 1], minlength=size).numpy() / told.shape[1]
    return found
