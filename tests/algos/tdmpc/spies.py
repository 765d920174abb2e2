"""Looking over an agent's shoulder while it works."""

from typing import Any

import torch

from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.learning import Learning
from lib.engine.optim import Adam


def spied(monkeypatch, owner: object, name: str) -> list[tuple]:
    """Lets a function work as before, and notes its arguments and what it returned.

    Networks among the arguments hold an agent's tensors during the call alone.
    """
    original, calls = getattr(owner, name), []

    def wrapper(*args, **kwargs):
        answer = original(*args, **kwargs)
        calls.append((args, kwargs, answer))
        return answer

    monkeypatch.setattr(owner, name, wrapper)
    return calls


def applications(monkeypatch, moving: bool = True) -> list[tuple[list[int], list[torch.Tensor]]]:
    """Notes every step that an optimiser makes: where its parameters lie, and gradients (1, ...).

    Args:
        moving: False lets no step happen, so that everything stays as it is.
    """
    original, noted = Adam.apply, []

    def apply(self, gradients):
        found = [gradient.clone() for gradient in gradients]
        noted.append(([p.data_ptr() for p in self.parameters], found))
        if moving:
            original(self, found)

    monkeypatch.setattr(Adam, "apply", apply)
    return noted


def learning(agent: ContinualAgent) -> Learning:
    """What computes an agent's updates in its task."""
    agent.update(0)
    return agent.seed_batch.computation.learning


def protection(agent: ContinualAgent, name: str) -> Any:
    """One of an agent's protections, whether it is on or off."""
    (found,) = [p for p in agent.known if p.name == name]
    return found


def addresses(*modules: torch.nn.Module) -> list[int]:
    """Where the modules' parameters lie in memory."""
    return [p.data_ptr() for module in modules for p in module.parameters()]


def steps(adam: Adam) -> int:
    """How many steps an optimiser has made."""
    (count,) = {int(each) for each in adam.step}
    return count
