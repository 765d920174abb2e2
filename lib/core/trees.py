"""Tensors in nested dictionaries, lists, tuples and named tuples, treated as one value."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Tree = Any  # tensors in nested dicts, lists and tuples


def leaf_map(fn: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Replaces every tensor of a nesting by fn of it; whatever is no tensor stays."""
    if isinstance(tree, Tensor):
        return fn(tree)
    if isinstance(tree, Mapping):
        return {key: leaf_map(fn, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(leaf_map(fn, value) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(leaf_map(fn, value) for value in tree)
    return tree


def stack_copies(trees: Sequence[Tree]) -> Tree:
    """Copies S alike trees of tensors into one with a leading S."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.stack(list(trees))
    if isinstance(first, Mapping):
        return {key: stack_copies([tree[key] for tree in trees]) for key in first}
    parts = [stack_copies(part) for part in zip(*trees, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
