"""How often is a task told from what is seen of it?"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib.algos.decision_transformer import acting
from lib.algos.decision_transformer.model import state_features
from lib.algos.decision_transformer.tokens import padded, to_tokens

if TYPE_CHECKING:
    from lib.algos.decision_transformer.agent import SequenceAgent

STEPS = (1, 5, 10)  # of an episode, after which the inferred task is looked at; and at its end


@torch.no_grad()
def inferred_tasks(agent: "SequenceAgent", held_out: dict[str, Tensor]) -> dict[str, float]:
    """Returns the share of held-out episodes whose task is inferred, by task and step.

    Evidence is added up to each step; while acting it is no longer after `freeze_after`.
    """
    found: dict[str, float] = {}
    first = agent.cfg.pretrain.tasks
    if not agent.modulator.infers or agent.cfg.pretrains(agent.task):
        return found
    agent.model.eval()
    for task in range(first, agent.task + 1):
        kept = held_out["length"][task] > 0
        obs, action, reward = (held_out[name][task][kept] for name in ("obs", "action", "reward"))
        if not len(obs):
            continue
        name = agent.domain.tasks[task].name
        right = _right_by_step(agent, task, obs, action, reward) == task - first  # (T, K)
        share = right.float().mean(1)
        for step in STEPS:
            if step <= len(share):
                found[f"audit/{name}/inferred_{step}"] = float(share[step - 1])
        found[f"audit/{name}/inferred_end"] = float(share[-1])
    return found


def _right_by_step(
    agent: "SequenceAgent", task: int, obs: Tensor, action: Tensor, reward: Tensor
) -> Tensor:
    """Returns the task that is inferred after every step, (T, K) of K episodes."""
    cfg, layout = agent.cfg.model, list(agent.layouts[task][0])
    width = agent.parts[task][0].actions.size
    memory = acting.begun(len(obs), cfg, agent.modulator.context.tasks, agent.device)
    target, scale = float(agent.targets[task]), agent.scale(task)
    told = []
    for step in range(action.shape[1]):
        state = obs.new_zeros(len(obs), cfg.slots)
        state[:, layout] = obs[:, step]
        memory = acting.observed(memory, state, target, scale)
        window = acting.window(memory, width, cfg.bins)
        features = agent.model.read(agent.model.embed(window), window.valid)
        seen = agent.modulator.evidence(state_features(features, window.valid))
        memory = memory._replace(evidence=memory.evidence + seen)
        told.append(acting.inferred(agent.modulator, memory.evidence))
        chosen = to_tokens(padded(action[:, step, :width], cfg.actions), cfg.bins)
        memory = memory._replace(
            action=torch.cat((memory.action[:, :-1], chosen.unsqueeze(1)), 1),
            steps=memory.steps + 1,
        )
        memory = agent.observe_reward(memory, reward[:, step])
    return torch.stack(told)
