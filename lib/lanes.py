"""S runs computed as one: tensors stacked, functions mapped, random numbers side by side.

A lane is one run of several that differ by their seed alone. What is written here for one lane
(a loss, a plan) is mapped over all of them; a single run is one lane and pays for no mapping.
Nothing in this module knows what is learnt.

Shapes: S lanes lead.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

Tree = Any  # tensors in nested dicts, lists and tuples
ALIGNED = 4  # numbers, 16 bytes: what a GPU's matrix products ask of an address to be fast

# Tensors ------------------------------------------------------------------------------------


def leaf_map(fn: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """The same nesting with every tensor replaced; whatever is no tensor stays."""
    if isinstance(tree, Tensor):
        return fn(tree)
    if isinstance(tree, Mapping):
        return {key: leaf_map(fn, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(leaf_map(fn, value) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(leaf_map(fn, value) for value in tree)
    return tree


def stack(trees: Sequence[Tree]) -> Tree:
    """S alike trees of tensors as one with a leading S, through which all of them live on.

    The given tensors become views of the rows of the result, so that whoever owns them sees what
    is written to the whole, and the other way round. One tree is not copied.
    """
    first = trees[0]
    if isinstance(first, Mapping):
        return {key: stack([tree[key] for tree in trees]) for key in first}
    if isinstance(first, list | tuple):
        parts = [stack(part) for part in zip(*trees, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    if len(trees) == 1:
        return first.detach().unsqueeze(0)
    whole = torch.stack([tree.detach() for tree in trees])
    for tree, row in zip(trees, whole, strict=True):
        tree.data = row
    return whole


class Flat:
    """Names and shapes of tensors that lie one after the other in a row of P numbers.

    A gradient with respect to such a row is a row again, and so are an optimiser's moments: a step
    is a handful of operations, however many tensors there are. Every tensor, and every lane's row,
    begins at a multiple of `ALIGNED` numbers; the gaps between them hold zeros.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        held = [math.prod(shape) for shape in self.shapes.values()]
        self.sizes = [size for n in held for size in (n, -n % ALIGNED)]  # each with its gap

    def row(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """(P,) a copy of the tensors, which must have the names and shapes of this layout."""
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if found != self.shapes:
            raise ValueError(f"tensors {found} do not fit a row of {self.shapes}")
        parts = []
        for name, gap in zip(self.shapes, self.sizes[1::2], strict=True):
            parts.append(F.pad(tensors[name].detach().flatten(), (0, gap)))
        return torch.cat(parts)

    def views(self, row: Tensor) -> dict[str, Tensor]:
        """(..., P) as tensors by name, (..., *shape) each; they share its memory."""
        parts = row.split(self.sizes, -1)[::2]
        lead = row.shape[:-1]
        return {
            name: part.reshape(*lead, *shape) if lead else part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


def stacked(trees: Sequence[Tree]) -> Tree:
    """S alike trees of tensors as one with a leading S, copied: the given ones stay as they are."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.stack(list(trees))
    if isinstance(first, Mapping):
        return {key: stacked([tree[key] for tree in trees]) for key in first}
    parts = [stacked(part) for part in zip(*trees, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)


# Functions ----------------------------------------------------------------------------------


def over_lanes(fn: Callable[..., Tree], lanes: int) -> Callable[..., Tree]:
    """A function of one lane's trees of tensors as one of S lanes' (a leading S everywhere)."""
    if lanes > 1:
        return torch.vmap(fn)

    def one(*args: Tree) -> Tree:
        out = fn(*(leaf_map(lambda tensor: tensor.squeeze(0), arg) for arg in args))
        return leaf_map(lambda tensor: tensor.unsqueeze(0), out)

    return one


class _Bound(nn.Module):
    """A function of modules as one module, so that its tensors can be swapped."""

    def __init__(self, fn: Callable[..., Tree], modules: Mapping[str, nn.Module]):
        super().__init__()
        self.fn = fn
        for name, module in modules.items():
            # One module under two names would hold the tensors of the last name only.
            self.add_module(name, copy.deepcopy(module))

    def forward(self, *args: Tree) -> Tree:
        return self.fn(*self.children(), *args)


def on_tensors(fn: Callable[..., Tree], **modules: nn.Module) -> Callable[..., Tree]:
    """A function of modules and data as one of named tensors and data.

    Args:
        fn: takes the modules in order, then the data.
        modules: lend their architecture; their own tensors are never read.

    Returns:
        fn'(tensors, *data), where every module's tensors go by `module.tensor`; tensors of other
        modules may be among them.
    """
    bound, names = _Bound(fn, modules), tuple(f"{name}." for name in modules)

    def call(tensors: dict[str, Tensor], *args: Tree) -> Tree:
        own = {name: value for name, value in tensors.items() if name.startswith(names)}
        # All names are given; a search for tied ones would take as long as a small decision.
        return functional_call(bound, own, args, strict=True, tie_weights=False)

    return call


def named(**modules: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of several modules under `module.tensor`."""
    return {f"{m}.{name}": value for m, held in modules.items() for name, value in held.items()}


def part(tensors: Mapping[str, Tensor], module: str) -> dict[str, Tensor]:
    """One module's tensors out of what `named` gave."""
    prefix = module + "."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


Loss = Callable[..., tuple[Tensor, Tree]]  # (trained, *data) to a scalar and what else to keep


def gradients(
    loss: Loss, lanes: int, clip: float | None, *, pure: bool = False
) -> Callable[..., tuple[dict[str, Tensor], Tensor, Tree]]:
    """The gradient of every lane's loss, its norm clipped lane by lane.

    Args:
        loss: of one lane: named trained tensors and data to a scalar and a tree to keep.
        clip: largest global norm of a lane's gradient, or None.
        pure: differentiate by transforms instead of recording, which a compiler can read.

    Returns:
        A function of S lanes: (trained, *data) to gradients like `trained`, norms before
        clipping (S,), and the kept tree.
    """

    def transformed(trained: dict[str, Tensor], *data: Tree) -> tuple[dict[str, Tensor], Tree]:
        return over_lanes(torch.func.grad(loss, has_aux=True), lanes)(trained, *data)

    def recorded(trained: dict[str, Tensor], *data: Tree) -> tuple[dict[str, Tensor], Tree]:
        leaves = {name: value.detach().requires_grad_() for name, value in trained.items()}
        with torch.enable_grad():  # lanes share nothing, so the sum's gradient is each lane's own
            value, kept = over_lanes(loss, lanes)(leaves, *data)
            found = torch.autograd.grad(value.sum(), list(leaves.values()))
        return dict(zip(leaves, found, strict=True)), leaf_map(Tensor.detach, kept)

    def clipped(trained: dict[str, Tensor], *data: Tree) -> tuple[dict[str, Tensor], Tensor, Tree]:
        found, kept = (transformed if pure else recorded)(trained, *data)
        if clip is None:
            return found, next(iter(found.values())).new_zeros(lanes), kept
        norm = lane_norm(list(found.values()))
        scale = (clip / (norm + 1e-6)).clamp_max(1.0)
        small = {
            name: value * scale.view(-1, *[1] * (value.dim() - 1)) for name, value in found.items()
        }
        return small, norm, kept

    return clipped


def lane_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all tensors of each lane: S leads in every tensor, (S,)."""
    each = [torch.linalg.vector_norm(t.reshape(len(t), -1), dim=1) for t in tensors]
    return torch.linalg.vector_norm(torch.stack(each), dim=0)


# Random numbers -----------------------------------------------------------------------------


class Draw(NamedTuple):
    """Random numbers that one lane needs at once."""

    kind: Literal["uniform", "normal"]
    shape: tuple[int, ...]


Layout = Mapping[str, Draw]


class Draws:
    """Random numbers of S lanes in two blocks, refilled in place with two calls per lane.

    Blocks keep their place in memory, so a recorded graph finds the new numbers where the old
    ones were. A lane gets what it would get alone, from its own generator.
    """

    def __init__(self, layout: Layout, lanes: int, device: torch.device | str):
        self.views: dict[str, Tensor] = {}
        self.blocks: dict[str, Tensor] = {}
        for kind in ("uniform", "normal"):
            wanted = {name: draw.shape for name, draw in layout.items() if draw.kind == kind}
            sizes = [math.prod(shape) for shape in wanted.values()]
            block = self.blocks[kind] = torch.zeros(lanes, sum(sizes), device=device)
            for (name, shape), part in zip(wanted.items(), block.split(sizes, 1), strict=True):
                self.views[name] = part.view(lanes, *shape)

    def refill(self, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """New numbers, one generator per lane; returns (S, *shape) by name."""
        for lane, generator in enumerate(generators):
            self.blocks["uniform"][lane].uniform_(generator=generator)
            self.blocks["normal"][lane].normal_(generator=generator)
        return self.views


def drawn(layout: Layout, generator: torch.Generator) -> dict[str, Tensor]:
    """The numbers of a layout for a single lane, without the leading S."""
    draws = Draws(layout, 1, generator.device)
    return {name: value.squeeze(0) for name, value in draws.refill([generator]).items()}
