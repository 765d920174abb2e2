"""For which task are episodes taken, from what is seen of them?

Shapes: S tasks of the stream.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lib.algos.decision_transformer.replaying import believed

if TYPE_CHECKING:
    from lib.algos.decision_transformer.agent import SequenceAgent

STEPS = (1, 5, 10)  # of an episode, after which the inferred task is looked at; and at its end


@torch.no_grad()
def inferred_tasks(
    agent: "SequenceAgent", held_out: dict[str, Tensor]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns the share of held-out episodes whose task is inferred, by task and step.

    Evidence is added up to each step; while acting it is no longer after `freeze_after`.

    Returns:
        Flat metrics, and `inferred_as`, (S, S): the share of episodes of one task (row) that are
        taken for another (column) in the end; NaN of tasks that have not been learnt.
    """
    found: dict[str, float] = {}
    first, tasks = agent.cfg.pretrain.tasks, agent.modulator.context.tasks
    if not agent.modulator.infers or agent.cfg.pretrains(agent.task):
        return found, {}
    agent.model.eval()
    taken = np.full((tasks, tasks), np.nan)
    for task in range(first, agent.task + 1):
        kept = held_out["length"][task] > 0
        obs, action, reward = (held_out[name][task][kept] for name in ("obs", "action", "reward"))
        if not len(obs):
            continue
        name = agent.domain.tasks[task].name
        told = believed(agent, task, obs, action, reward).argmax(-1)  # (T, K)
        share = (told == task - first).float().mean(1)
        for step in STEPS:
            if step <= len(share):
                found[f"audit/{name}/inferred_{step}"] = float(share[step - 1])
        found[f"audit/{name}/inferred_end"] = float(share[-1])
        taken[task - first] = (torch.bincount(told[-1], minlength=tasks) / len(obs)).cpu().numpy()
    return found, {"inferred_as": taken}
