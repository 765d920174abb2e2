"""Acts many episodes in lock-step: what is carried along, which module acts, and the next action.

Shapes: E episodes, C steps of context, S slots, A action dimensions of the model, T tasks.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lib.algos.decision_transformer.model import DecisionTransformer, state_features
from lib.algos.decision_transformer.modulators.api import Modulator
from lib.algos.decision_transformer.sizes import ModelConfig
from lib.algos.decision_transformer.tokens import NOTHING, to_actions, to_tokens
from lib.algos.decision_transformer.windows import Window


class Memory(NamedTuple):
    """What episodes carry along; all 0 when one begins. The last place of C is the step at hand."""

    state: Tensor  # (E, C, S)
    action: Tensor  # (E, C, A) long
    reward: Tensor  # (E, C)
    to_go: Tensor  # (E, C)
    earned: Tensor  # (E,) what the return still wanted has fallen by, never below 0
    steps: Tensor  # (E,) long, steps decided
    evidence: Tensor  # (E, T) sum of log p(task | window) over the first steps
    scale: Tensor  # (E,) what rewards are divided by


def begun(count: int, cfg: ModelConfig, tasks: int, device: torch.device | str) -> Memory:
    """Returns the memory of episodes that have yet to begin."""
    rows = (count, cfg.context)
    return Memory(
        state=torch.zeros(*rows, cfg.slots, device=device),
        action=torch.zeros(*rows, cfg.actions, dtype=torch.long, device=device),
        reward=torch.zeros(rows, device=device),
        to_go=torch.zeros(rows, device=device),
        earned=torch.zeros(count, device=device),
        steps=torch.zeros(count, dtype=torch.long, device=device),
        evidence=torch.zeros(count, tasks, device=device),
        scale=torch.zeros(count, device=device),
    )


def observed(
    memory: Memory, state: Tensor, target: Tensor | float, scale: Tensor | float
) -> Memory:
    """Takes the observations (E, S) of a new step; the oldest one is forgotten.

    Args:
        target: () or (E,) the return wanted of a whole episode, divided by the scale. What is still
            wanted never exceeds it.
        scale: () or (E,) of the task's rewards.
    """
    return memory._replace(
        state=_pushed(memory.state, state),
        action=_pushed(memory.action, torch.zeros_like(memory.action[:, 0])),
        reward=_pushed(memory.reward, torch.zeros_like(memory.earned)),
        to_go=_pushed(memory.to_go, target - memory.earned),
        scale=scale * torch.ones_like(memory.scale),
    )


def _pushed(row: Tensor, new: Tensor) -> Tensor:
    return torch.cat((row[:, 1:], new.unsqueeze(1)), 1)


def rewarded(memory: Memory, reward: Tensor) -> Memory:
    """Takes the rewards (..., E) of the step just made, with any leading axes that both have."""
    reward = reward / memory.scale
    filled = torch.cat((memory.reward[..., :-1], reward.unsqueeze(-1)), -1)
    return memory._replace(reward=filled, earned=(memory.earned + reward).clamp_min(0))


def window(memory: Memory, width: Tensor | int, bins: int) -> Window:
    """Returns what the model reads.

    Args:
        width: () or (E,) dimensions of the task's actions.
    """
    context, actions = memory.action.shape[1:]
    back = torch.arange(context - 1, -1, -1, device=memory.steps.device)
    time = memory.steps.unsqueeze(1) - back  # (E, C)
    valid = time >= 0
    widths = torch.as_tensor(width, device=memory.steps.device).reshape(-1, 1)
    real = torch.arange(actions, device=memory.steps.device) < widths
    return Window(
        state=memory.state * valid.unsqueeze(-1),
        to_go=memory.to_go * valid,
        action=memory.action.masked_fill(~valid.unsqueeze(-1), bins),
        reward=memory.reward * valid,
        time=time * valid,
        valid=valid,
        real=real.expand(len(time), actions),
    )


@torch.no_grad()
def act(
    model: DecisionTransformer,
    modulator: Modulator | None,
    memory: Memory,
    width: Tensor | int,
    task: int,
    freeze_after: int,
) -> tuple[Tensor, Memory]:
    """Decides one step of every episode.

    Args:
        memory: with the step's observation.
        modulator: None acts with the model alone.
        width: () or (E,) dimensions of the task's actions.
        task: index in the stream, read where it is not inferred.
        freeze_after: steps after which an inferred task is kept.

    Returns:
        Actions (E, largest width) in [-1, 1], 0 where an episode's task has fewer numbers, and the
        memory to go on with.
    """
    cfg = model.cfg
    seen = window(memory, width, cfg.bins)
    tokens, adapter = model.embed(seen), None
    if modulator is not None:
        if modulator.infers:
            told = _weighed(model, modulator, memory, seen, tokens, freeze_after)
            memory = memory._replace(evidence=told)
            module = inferred(modulator, memory.evidence)
        else:
            module = torch.full_like(memory.steps, task)
        query = model.query(tokens, seen.valid, modulator.query)
        adapter = modulator.acting(query, module)
    widest = int(torch.as_tensor(width).max())
    chosen = model.decide(seen, tokens, widest, adapter)
    real = seen.real[:, :widest]
    action = to_actions(chosen, cfg.bins, cfg.decode).where(real, torch.tensor(NOTHING))
    nothing = int(to_tokens(torch.tensor(NOTHING), cfg.bins))
    whole = torch.full_like(memory.action[:, -1], nothing)
    whole[:, :widest] = chosen.where(real, torch.tensor(nothing))
    kept = torch.cat((memory.action[:, :-1], whole.unsqueeze(1)), 1)
    return action, memory._replace(action=kept, steps=memory.steps + 1)


def _weighed(
    model: DecisionTransformer,
    modulator: Modulator,
    memory: Memory,
    seen: Window,
    tokens: Tensor,
    freeze_after: int,
) -> Tensor:
    """Adds up what speaks for each task, (E, T), as long as episodes are young."""
    young = memory.steps < freeze_after
    if not bool(young.any()):
        return memory.evidence
    features = state_features(model.read(tokens, seen.valid), seen.valid)
    return memory.evidence + modulator.evidence(features) * young.unsqueeze(1)


def inferred(modulator: Modulator, evidence: Tensor) -> Tensor:
    """Returns the likeliest (E,) of the tasks met so far."""
    return evidence.masked_fill(~modulator.seen(), -torch.inf).argmax(1)
