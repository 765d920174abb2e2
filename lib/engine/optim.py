"""Adam whose state is plain tensors, which are saved without pickle and stacked without copies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adam import adam as adam_step

from lib.engine.seeds import stack_as_views

BETA1, BETA2 = 0.9, 0.999
SLOTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class Adam:
    """Adam over a list of parameters, stepped by PyTorch's fused kernel.

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
        """Makes an optimiser that has not stepped yet."""
        held = list(parameters)
        for p in held:
            p.data = p.data.contiguous()  # the fused kernel walks through memory, not indices
        zeros = [[torch.zeros_like(p, requires_grad=False) for p in held] for _ in range(2)]
        device = held[0].device
        counts = [torch.zeros((), device=device) for _ in held]
        return cls(held, *zeros, counts, torch.tensor(lr, device=device))

    @classmethod
    def joined(cls, each: Sequence["Adam"], parameters: Sequence[Tensor]) -> "Adam":
        """Joins S optimisers into one over stacked parameters, of which theirs become views.

        They have made the same number of steps, so they share counts and learning rate.
        """
        for other in each[1:]:
            for mine, theirs in zip(each[0].step, other.step, strict=True):
                theirs.data = mine.data
            other.lr.data = each[0].lr.data
        moments = (stack_as_views([getattr(one, slot) for one in each]) for slot in SLOTS[1:])
        return cls(list(parameters), *moments, each[0].step, each[0].lr)

    @torch.no_grad()
    def apply(self, gradients: Iterable[Tensor]) -> None:
        """Makes one step along gradients given in the parameters' order."""
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
            beta1=BETA1,
            beta2=BETA2,
            lr=self.lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def set_lr(self, lr: float) -> None:
        self.lr.fill_(lr)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """Returns the moments of every parameter, in order."""
        return {slot: getattr(self, slot) for slot in SLOTS}

    def load_state_dict(self, saved: dict[str, list[Tensor]]) -> None:
        """Restores what `state_dict` returned."""
        for slot in SLOTS:
            for mine, theirs in zip(getattr(self, slot), saved[slot], strict=True):
                mine.copy_(theirs)


@dataclass
class FlatAdam:
    """Adam over S rows of P parameters each, as Keras computes it: for the Dreamers.

    Keras adds epsilon before it corrects the moments' bias, so early steps are smaller than
    PyTorch's where gradients are tiny. Decay takes a share of every parameter that does not depend
    on the learning rate. Rows are clipped one by one.

    Source: Adam (Kingma and Ba 2015), the remark after algorithm 1; DreamerV2's optimiser.
    """

    row: Tensor  # (S, P) the parameters themselves, or (P,) of a single run
    mean: Tensor  # the same shape
    square: Tensor
    step: Tensor  # () steps made
    lr: float
    epsilon: float
    decay: float
    clip: float

    @classmethod
    def over(cls, row: Tensor, lr: float, epsilon: float, decay: float, clip: float) -> "FlatAdam":
        """Makes an optimiser that has not stepped yet."""
        zeros = [torch.zeros_like(row) for _ in range(2)]
        return cls(row, *zeros, torch.zeros((), device=row.device), lr, epsilon, decay, clip)

    @classmethod
    def joined(cls, each: Sequence["FlatAdam"]) -> "FlatAdam":
        """Joins those of S runs, each over (P,), into one over (S, P), of which they become views.

        They have made the same number of steps, so they share the count.
        """
        first = each[0]
        for other in each[1:]:
            other.step.data = first.step.data
        rows = (
            stack_as_views([getattr(one, name) for one in each])
            for name in ("row", "mean", "square")
        )
        return cls(*rows, first.step, first.lr, first.epsilon, first.decay, first.clip)

    @torch.no_grad()
    def apply(self, gradient: Tensor) -> Tensor:
        """Makes one step along (S, P) in place; returns the norms before clipping, (S,)."""
        norm = torch.linalg.vector_norm(gradient, dim=-1)
        used = gradient * (self.clip / norm.clamp_min(self.clip)).unsqueeze(-1)
        self.step.add_(1)
        self.mean.lerp_(used, 1 - BETA1)
        self.square.mul_(BETA2).addcmul_(used, used, value=1 - BETA2)
        rate = self.lr * torch.sqrt(1 - BETA2**self.step) / (1 - BETA1**self.step)
        # One buffer serves all that follows: passes over memory are what a step costs.
        divisor = torch.sqrt(self.square, out=used).add_(self.epsilon).div_(rate)
        self.row.mul_(1 - self.decay).addcdiv_(self.mean, divisor, value=-1)
        return norm

    def reset(self) -> None:
        """Sets moments and step count to zero."""
        for held in (self.mean, self.square, self.step):
            held.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the moments; the parameters are saved by their owner, under their names."""
        return {"mean": self.mean, "square": self.square, "step": self.step}

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        for name, value in saved.items():
            getattr(self, name).copy_(value)


def adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
    """Makes PyTorch's own fused Adam, for networks outside the stacked update."""
    return torch.optim.Adam(list(parameters), lr=lr, fused=True)


def state(optimizer: torch.optim.Optimizer) -> dict[str, list[Tensor]]:
    """Returns the moments of every parameter that has stepped, in parameter order."""
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
