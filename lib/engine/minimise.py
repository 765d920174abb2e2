"""Gradient steps of S seeds at once, on a loss that is written for one.

Shapes: S seeds lead in everything that is handed over.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from lib.core.trees import Tree
from lib.engine.compiling import compiled
from lib.engine.seeds import gradients, on_tensors

Modules = dict[str, Any]  # networks by name, as a loss finds them
Loss = Callable[[Modules, Tree], tuple[Tensor, Tree]]  # (networks, data) to a scalar, what to keep


class Optimiser(Protocol):
    """Steps stacked tensors in place."""

    def apply(self, gradients: Iterable[Tensor]) -> Any:
        """Makes one step along gradients (S, *shape) in the order of its tensors."""
        ...


class Trained(NamedTuple):
    """Tensors that a step moves, `network.tensor` to (S, *shape), and what moves them."""

    tensors: dict[str, Tensor]
    optimiser: Optimiser


class Minimise:
    """Makes gradient steps on one loss; built once, called at every update.

    Args:
        loss: of one seed: networks by name and data to a scalar and a tree to keep.
        modules: the networks that the loss asks for; they lend their architecture alone.
        clip: largest norm of a seed's gradient over everything trained, or None.
        compile: whether to hand the gradient to PyTorch's compiler; name: what profilers show.
    """

    def __init__(
        self,
        loss: Loss,
        modules: Mapping[str, nn.Module],
        seeds: int,
        *,
        clip: float | None,
        compile: bool,
        name: str,
    ):
        names = tuple(modules)
        self.prefixes = tuple(f"{name}." for name in names)

        def by_name(*args: Any) -> tuple[Tensor, Tree]:
            return loss(dict(zip(names, args, strict=False)), args[-1])

        bound = on_tensors(by_name, **modules)

        def of_tensors(
            trained: dict[str, Tensor], fixed: dict[str, Tensor], data: Tree
        ) -> tuple[Tensor, Tree]:
            return bound({**trained, **fixed}, data)

        gradient = gradients(of_tensors, seeds, clip, pure=compile)
        self.gradient = compiled(gradient, name) if compile else gradient

    def __call__(
        self, trained: Sequence[Trained], tensors: Mapping[str, Tensor], data: Tree
    ) -> tuple[Tensor, Tree]:
        """Makes one step.

        Args:
            trained: what moves, in the order of the steps.
            tensors: those of all networks, `network.tensor` to (S, *shape); others are ignored.
            data: a tree of tensors (S, ...).

        Returns:
            The gradients' norms before clipping (S,), and what the loss keeps (S, ...).
        """
        moved = {name: value for each in trained for name, value in each.tensors.items()}
        fixed = {
            name: value
            for name, value in tensors.items()
            if name not in moved and name.startswith(self.prefixes)
        }
        found, norm, kept = self.gradient(moved, fixed, data)
        for each in trained:
            each.optimiser.apply([found[name] for name in each.tensors])
        return norm, kept
