"""Computes runs that differ only in their seed as one: stacks tensors and maps functions.

An algorithm writes a loss or a plan for one seed; `over_seeds` maps it over all of them. A single
run is a batch of one seed and pays for no mapping. Nothing in this module knows what is learnt.

Shapes: S seeds lead.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lib.core.trees import Tree, leaf_map

ALIGNED = 4  # numbers, 16 bytes: what a GPU's matrix products ask of an address to be fast

# Tensors ------------------------------------------------------------------------------------


def stack_as_views(trees: Sequence[Tree]) -> Tree:
    """Stacks S alike trees of tensors, which become views of the result with its leading S.

    The given tensors become views of the rows of the result, so that whoever owns them sees what
    is written to the whole, and the other way round. One tree is not copied.
    """
    first = trees[0]
    if isinstance(first, Mapping):
        return {key: stack_as_views([tree[key] for tree in trees]) for key in first}
    if isinstance(first, list | tuple):
        parts = [stack_as_views(part) for part in zip(*trees, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    if len(trees) == 1:
        return first.detach().unsqueeze(0)
    whole = torch.stack([tree.detach() for tree in trees])
    for tree, row in zip(trees, whole, strict=True):
        tree.data = row
    return whole


class FlatLayout:
    """The layout of named tensors that lie one after the other in a row of P numbers.

    A gradient with respect to such a row is a row again, and so are an optimiser's moments: a step
    is a handful of operations, however many tensors there are. Every tensor, and every seed's row,
    begins at a multiple of `ALIGNED` numbers; the gaps between them hold zeros.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        held = [math.prod(shape) for shape in self.shapes.values()]
        self.sizes = [size for n in held for size in (n, -n % ALIGNED)]  # each with its gap

    def row(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Copies tensors with the names and shapes of this layout into a row (P,)."""
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if found != self.shapes:
            raise ValueError(f"tensors {found} do not fit a row of {self.shapes}")
        parts = []
        for name, gap in zip(self.shapes, self.sizes[1::2], strict=True):
            parts.append(F.pad(tensors[name].detach().flatten(), (0, gap)))
        return torch.cat(parts)

    def views(self, row: Tensor) -> dict[str, Tensor]:
        """Views a row (..., P) as tensors by name, (..., *shape) each, which share its memory."""
        parts = row.split(self.sizes, -1)[::2]
        lead = row.shape[:-1]
        return {
            name: part.reshape(*lead, *shape) if lead else part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


# Functions ----------------------------------------------------------------------------------


def over_seeds(fn: Callable[..., Tree], seeds: int) -> Callable[..., Tree]:
    """Maps a function of one seed's trees of tensors over S seeds (a leading S everywhere)."""
    if seeds > 1:
        return torch.vmap(fn)

    def one(*args: Tree) -> Tree:
        out = fn(*(leaf_map(lambda tensor: tensor.squeeze(0), arg) for arg in args))
        return leaf_map(lambda tensor: tensor.unsqueeze(0), out)

    return one


class _FunctionModule(nn.Module):
    """Wraps a function of modules as one module, so that its tensors can be replaced."""

    def __init__(self, fn: Callable[..., Tree], modules: Mapping[str, nn.Module]):
        super().__init__()
        self.fn = fn
        for name, module in modules.items():
            # One module under two names would hold the tensors of the last name only.
            self.add_module(name, copy.deepcopy(module))

    def forward(self, *args: Tree) -> Tree:
        return self.fn(*self.children(), *args)


def on_tensors(fn: Callable[..., Tree], **modules: nn.Module) -> Callable[..., Tree]:
    """Turns a function of modules and data into one of named tensors and data.

    Args:
        fn: takes the modules in order, then the data.
        modules: lend their architecture; their own tensors are never read.

    Returns:
        fn'(tensors, *data), where every module's tensors go by `module.tensor`; tensors of other
        modules may be among them.
    """
    bound, names = _FunctionModule(fn, modules), tuple(f"{name}." for name in modules)

    def call(tensors: dict[str, Tensor], *args: Tree) -> Tree:
        own = {name: value for name, value in tensors.items() if name.startswith(names)}
        # All names are given; a search for tied ones would take as long as a small decision.
        return functional_call(bound, own, args, strict=True, tie_weights=False)

    return call


def prefixed(**modules: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names the tensors of several modules `module.tensor`."""
    return {f"{m}.{name}": value for m, held in modules.items() for name, value in held.items()}


def unprefixed(tensors: Mapping[str, Tensor], module: str) -> dict[str, Tensor]:
    """Returns one module's tensors out of what `prefixed` gave, under their own names."""
    prefix = module + "."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


Loss = Callable[..., tuple[Tensor, Tree]]  # (trained, *data) to a scalar and what else to keep


def gradients(
    loss: Loss, seeds: int, clip: float | None, *, pure: bool = False
) -> Callable[..., tuple[dict[str, Tensor], Tensor, Tree]]:
    """Makes the function that gives every seed's gradient of a loss, clipped seed by seed.

    Args:
        loss: of one seed: named trained tensors and data to a scalar and a tree to keep.
        clip: largest global norm of a seed's gradient, or None.
        pure: differentiate by transforms instead of recording, which a compiler can read.

    Returns:
        A function of S seeds: (trained, *data) to gradients like `trained`, norms before
        clipping (S,), and the kept tree.
    """

    def transformed(trained: dict[str, Tensor], *data: Tree) -> tuple[dict[str, Tensor], Tree]:
        return over_seeds(torch.func.grad(loss, has_aux=True), seeds)(trained, *data)

    def recorded(trained: dict[str, Tensor], *data: Tree) -> tuple[dict[str, Tensor], Tree]:
        leaves = {name: value.detach().requires_grad_() for name, value in trained.items()}
        with torch.enable_grad():  # seeds share nothing, so the sum's gradient is each seed's own
            value, kept = over_seeds(loss, seeds)(leaves, *data)
            found = torch.autograd.grad(value.sum(), list(leaves.values()))
        return dict(zip(leaves, found, strict=True)), leaf_map(Tensor.detach, kept)

    def clipped(trained: dict[str, Tensor], *data: Tree) -> tuple[dict[str, Tensor], Tensor, Tree]:
        found, kept = (transformed if pure else recorded)(trained, *data)
        if clip is None:
            return found, next(iter(found.values())).new_zeros(seeds), kept
        norm = norm_per_seed(list(found.values()))
        scale = (clip / (norm + 1e-6)).clamp_max(1.0)
        small = {
            name: value * scale.view(-1, *[1] * (value.dim() - 1)) for name, value in found.items()
        }
        return small, norm, kept

    return clipped


def norm_per_seed(tensors: Sequence[Tensor]) -> Tensor:
    """Returns each seed's Euclidean norm over all tensors, in which S leads: (S,)."""
    each = [torch.linalg.vector_norm(t.reshape(len(t), -1), dim=1) for t in tensors]
    return torch.linalg.vector_norm(torch.stack(each), dim=0)
