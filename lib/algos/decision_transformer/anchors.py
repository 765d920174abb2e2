"""Full tuning that holds weights where earlier tasks left them: EWC, and L2 where all count alike.

Source: Kirkpatrick et al. 2017; L2M's release, of which the separate term per task is kept, and
whose code for it forgets all anchors but the last, which is not.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lib.algos.decision_transformer.model import DecisionTransformer
from lib.algos.decision_transformer.modulators.api import Context, Data, Modulator, of_model
from lib.algos.decision_transformer.windows import Window


class Anchor(NamedTuple):
    """Where a task left every weight, and how much each matters for it."""

    weight: dict[str, Tensor]
    importance: dict[str, Tensor]


class Anchored(Modulator):
    """Trains everything, drawn back to one anchor per finished task."""

    def __init__(self, settings: Any, context: Context):
        super().__init__(settings, context)
        self.anchors: list[Anchor] = []

    def trained(self, model: DecisionTransformer) -> dict[str, nn.Parameter]:
        return of_model(model)

    def penalty(
        self, model: DecisionTransformer, features: Tensor, window: Window
    ) -> dict[str, Tensor]:
        if not self.anchors:
            return {"anchor": features.new_zeros(())}
        named = dict(model.named_parameters())
        return {"anchor": self.settings.strength * sum(distance(named, a) for a in self.anchors)}

    def after_learning(self, model: DecisionTransformer, data: Data) -> None:
        weight = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.anchors.append(Anchor(weight, self.importance(model, data)))

    def importance(self, model: DecisionTransformer, data: Data) -> dict[str, Tensor]:
        """Returns how much every weight matters for the task just learnt."""
        raise NotImplementedError(f"{type(self).__name__} does not weigh what it learnt")

    def memory(self) -> list[dict[str, dict[str, Tensor]]]:
        return [anchor._asdict() for anchor in self.anchors]

    def grows(self, model: DecisionTransformer) -> int:
        return 2 * sum(p.numel() for p in model.parameters())

    def load_memory(self, memory: list[dict[str, dict[str, Tensor]]]) -> None:
        self.anchors = [Anchor(**anchor) for anchor in memory]


def distance(named: dict[str, nn.Parameter], anchor: Anchor) -> Tensor:
    """Returns the sum over weights of importance times squared distance, ()."""
    return torch.stack(
        [
            (anchor.importance[name] * (p - anchor.weight[name]).square()).sum()
            for name, p in named.items()
        ]
    ).sum()


def fisher(model: DecisionTransformer, data: Data, batches: int, batch: int) -> dict[str, Tensor]:
    """Averages the squared gradient of a batch's mean loss over batches, per weight.

    That is no sum over single windows: it is what the published code computes.
    """
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for _ in range(batches):
        loss = data.loss(data.draw(batch))
        found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        for name, gradient in zip(total, found, strict=True):
            if gradient is not None:
                total[name] += gradient.square() / batches
    return total
