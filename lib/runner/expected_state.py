"""Compares a nested state from a file with one that this run would have saved."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lib.runner.expected import FLAG, NUMBER, TEXT, WHOLE, Complaint, Spec, first, shown, simple


def tensor(dtype: torch.dtype, axes: int) -> Spec:
    """Wants a tensor of such numbers with so many axes."""
    return simple(
        f"a tensor of {dtype} with {axes} axes",
        lambda value: isinstance(value, Tensor) and (value.dtype, value.dim()) == (dtype, axes),
    )


def like(found: Any, template: Any, name: str) -> Complaint:
    """Says where a nested state differs in kind from one that this run would have saved.

    Names and kinds must agree. What grows while a run goes on may have grown: lists and tensors'
    first axes may have another length, empty mappings may have been filled, and where the template
    has None there may be something.
    """
    if template is None:
        return None
    if isinstance(template, Tensor):
        return _tensor_like(found, template, name)
    if isinstance(template, Mapping):
        if not isinstance(found, Mapping):
            return f"{name} is {shown(found)}, wanted a mapping"
        if missing := [str(key) for key in template if key not in found]:
            return f"{name} lacks {', '.join(missing[:4])}"
        return first(like(found[key], value, f"{name}/{key}") for key, value in template.items())
    if isinstance(template, list | tuple):
        if not isinstance(found, list | tuple):
            return f"{name} is {shown(found)}, wanted a list"
        return None
    if isinstance(template, bool):
        return FLAG(found, name)
    if isinstance(template, int):
        return WHOLE(found, name)
    if isinstance(template, float):
        return NUMBER(found, name)
    return TEXT(found, name)


def _tensor_like(found: Any, template: Tensor, name: str) -> Complaint:
    if not isinstance(found, Tensor):
        return f"{name} is {shown(found)}, wanted a tensor"
    if found.dtype != template.dtype or found.shape[1:] != template.shape[1:]:
        return (
            f"{name} is {found.dtype} {list(found.shape)}, "
            f"wanted {template.dtype} {list(template.shape)}"
        )
    return None if found.dim() == template.dim() else f"{name} has {found.dim()} axes"
