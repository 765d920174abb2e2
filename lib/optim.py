"""Adam with its state as plain lists of tensors: saved without pickle, stacked without copies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adam import adam as adam_step

from lib.lanes import stack

SLOTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class Adam:
    """Parameters and what Adam knows of them, in one order. Steps are PyTorch's fused kernel.

    The learning rate and the step counts are tensors beside the parameters, so that a recorded
    graph follows a schedule.
    """

    parameters: list[Tensor]
    exp_avg: list[Tensor]
    exp_avg_sq: list[Tensor]
    step: list[Tensor]  # () each
    lr: Tensor  # ()

    @classmethod
    def over(cls, parameters: Iterable[Tensor], lr: float) -> "Adam":
        """A fresh one."""
        held = list(parameters)
        for p in held:
            p.data = p.data.contiguous()  # the fused kernel walks through memory, not indices
        zeros = [[torch.zeros_like(p, requires_grad=False) for p in held] for _ in range(2)]
        device = held[0].device
        counts = [torch.zeros((), device=device) for _ in held]
        return cls(held, *zeros, counts, torch.tensor(lr, device=device))

    @classmethod
    def joined(cls, each: Sequence["Adam"], parameters: Sequence[Tensor]) -> "Adam":
        """S of them as one over stacked parameters, through which all of them live on.

        They have made the same number of steps, so they share counts and learning rate.
        """
        for other in each[1:]:
            for mine, theirs in zip(each[0].step, other.step, strict=True):
                theirs.data = mine.data
            other.lr.data = each[0].lr.data
        moments = (stack([getattr(one, slot) for one in each]) for slot in SLOTS[1:])
        return cls(list(parameters), *moments, each[0].step, each[0].lr)

    @torch.no_grad()
    def apply(self, gradients: Iterable[Tensor]) -> None:
        """One step along gradients given in the parameters' order."""
        adam_step(
            self.parameters,
            [gradient.contiguous() for gradient in gradients],
            self.exp_avg,
            self.exp_avg_sq,
            [],
            self.step,
            fused=True,
            capturable=self.lr.is_cuda,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def set_lr(self, lr: float) -> None:
        self.lr.fill_(lr)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The moments of every parameter, in order."""
        return {slot: getattr(self, slot) for slot in SLOTS}

    def load_state_dict(self, saved: dict[str, list[Tensor]]) -> None:
        """Restores what `state_dict` returned."""
        for slot in SLOTS:
            for mine, theirs in zip(getattr(self, slot), saved[slot], strict=True):
                mine.copy_(theirs)


def adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
    """PyTorch's own Adam for what is trained aside, as one fused kernel."""
    return torch.optim.Adam(list(parameters), lr=lr, fused=True)


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
