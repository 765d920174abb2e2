"""Asks an agent what it makes of recorded episodes, outside a run: for chapters and for trying out.

Shapes: S tasks of the stream.
"""

from collections.abc import Sequence

import numpy as np
import torch

from lib.algos.decision_transformer.agent import SequenceAgent
from lib.algos.decision_transformer.replaying import believed
from lib.algos.decision_transformer.windows import Window
from lib.core.metrics import Array
from lib.replay.buffer import Episodes


def windows(agent: SequenceAgent, count: int) -> Window:
    """Draws windows of the task at hand, as while training."""
    return agent._draw(count)


def look_at(agent: SequenceAgent, experience: Sequence[Episodes]) -> None:
    """Lets an agent that infers tasks look at each of its stream, without learning any.

    Args:
        experience: of every task of the stream.
    """
    for task, episodes in enumerate(experience, agent.cfg.pretrain.tasks):
        agent.begin_task(task)
        agent.store("learner", episodes)
        agent.modulator.before_learning(agent.model, agent._data())


def taken_for(
    agent: SequenceAgent, experience: Sequence[Episodes], steps: Sequence[int]
) -> dict[int, Array]:
    """Returns for which tasks episodes are taken.

    Args:
        experience: of every task of the stream.
        steps: of an episode, after which it is asked.

    Returns:
        Each of these to (S, S), the share of a task's episodes (row) taken for each (column).
    """
    size, first = len(experience), agent.cfg.pretrain.tasks
    found = {step: np.zeros((size, size)) for step in steps}
    for task, one in enumerate(experience):
        told = believed(agent, first + task, one.obs, one.action, one.reward).argmax(-1)  # (T, K)
        for step, matrix in found.items():
            matrix[task] = torch.bincount(told[step - 1], minlength=size).numpy() / told.shape[1]
    return found
