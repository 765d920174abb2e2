"""A world model learns alone, from episodes that are there already.

An agent's whole update is in `lib.algos.dreamer.learning`; this is its first part without actor,
critic and several seeds, for a look at what a world model learns.

Letters: E episodes, A action size.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.core.errors import NonFiniteError
from lib.core.noise import draw_noise
from lib.core.spaces import ActionSpace
from lib.engine.seeds import FlatLayout

if TYPE_CHECKING:
    from lib.algos.dreamer.agent import DreamerAgent


class RandomPlayer:
    """Acts at random, for `lib.runner.evaluate.play`."""

    def __init__(self, actions: ActionSpace):
        self.actions = actions

    def act(
        self, obs: Tensor, memory: None, *, generator: torch.Generator, **rest: Any
    ) -> tuple[Tensor, None]:
        """Returns actions (E, A) for (E, *shape), and no memory."""
        return self.actions.random(len(obs), generator, obs.device), None


def learn_model(agent: "DreamerAgent", updates: int) -> dict[str, np.ndarray]:
    """Trains an agent's world model alone, in place, on what its replay holds.

    An averaged copy, where the objective asks for one, follows the model after every update, and
    parameters that the objective freezes keep a gradient of zero for as long as it says.

    Args:
        updates: how many.

    Returns:
        Every part of the loss, and what else the model logs, before each update: (updates,).

    Raises:
        UserError: the replay is empty.
        NonFiniteError: the loss stopped being a finite number.
    """
    update, streams = agent.cfg.update, agent.streams
    adam, flat = agent.trained["model"], agent.networks.flats["model"]
    networks, average = agent.networks, None
    model = _on_row(agent.module("model"), flat, adam.row)
    if networks.average is not None:
        average = _on_row(agent.module("model"), flat, agent.slow["model"])
    parameters = {name: model.get_parameter(name).requires_grad_(True) for name in flat.shapes}
    logged: dict[str, list[float]] = {}
    for number in range(1, updates + 1):
        batch = agent.replay.sample(update.batch, update.length, streams.replay)
        noise = draw_noise(model.loss_noise(update.length, update.batch), streams.update)
        # The agent does not count these updates as its own; the optimiser does.
        made = max(agent.total_updates, int(adam.step))
        scheduled = model.objective.scheduled(made)
        loss, kept = model.loss(*batch, noise, average=average, scheduled=scheduled)
        found = torch.autograd.grad(loss, list(parameters.values()))
        gradient = flat.row(dict(zip(parameters, found, strict=True)))
        for name in networks.frozen(made):
            networks.objective_tensors(gradient)[name].zero_()
        adam.apply(gradient)
        if model.objective.after_update:
            model.objective.after_update(networks.objective_tensors(adam.row))
        if average is not None:
            agent.slow["model"].lerp_(adam.row, networks.average)
        for name, value in kept.parts.items():
            logged.setdefault(name, []).append(float(value))
        if not np.isfinite(logged["total"][-1]):
            raise NonFiniteError(
                f"the world model's loss is {logged['total'][-1]} in update {number}; start with a "
                "new agent and a lower update.model_lr"
            )
    return {name: np.array(values) for name, values in logged.items()}


def _on_row(module: nn.Module, flat: FlatLayout, row: Tensor) -> nn.Module:
    """Returns a network whose parameters are views of a row (P,), and follow what is written."""
    for name, tensor in flat.views(row).items():
        module.get_parameter(name).data = tensor
    return module
