"""Adam with its state as plain lists of tensors, so that a checkpoint needs no pickle."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

SLOTS = ("step", "exp_avg", "exp_avg_sq")


def adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
    """Adam as one fused kernel where the device has one."""
    parameters = list(parameters)
    return torch.optim.Adam(parameters, lr=lr, fused=parameters[0].device.type in ("cpu", "cuda"))


def state(optimizer: torch.optim.Optimizer) -> dict[str, list[Tensor]]:
    """The moments of every parameter that has stepped, in parameter order."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    have = [optimizer.state[p] for p in parameters if p in optimizer.state]
    return {slot: [entry[slot] for entry in have] for slot in SLOTS}


def load(optimizer: torch.optim.Optimizer, saved: dict[str, list[Tensor]]) -> None:
    """Restores what `state` returned; an optimiser that never stepped stays as it is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.state.clear()
    if saved["step"]:
        for i, p in enumerate(parameters):
            optimizer.state[p] = {slot: saved[slot][i].to(p.device).clone() for slot in SLOTS}


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Changes the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def step(
    optimizers: Iterable[torch.optim.Optimizer],
    parameters: list[nn.Parameter],
    clip: float | None = None,
) -> Tensor:
    """Clips the joint gradient norm (if asked), steps every optimiser, clears the gradients.

    Returns:
        The norm before clipping, a scalar on the device (zero where nothing was clipped).
    """
    norm = torch.zeros((), device=parameters[0].device)
    if clip is not None:
        norm = nn.utils.clip_grad_norm_(parameters, clip)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return norm.detach()
