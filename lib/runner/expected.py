"""Checks what was read from a run folder's files against what a run would have written there.

Everything that a file holds passes here before it is used, so that an altered file ends in one
line that names what is wrong and where. Nothing here loads PyTorch; states of tensors are
compared in `lib.runner.expected_state`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lib.core.errors import UserError

LARGEST = 2**62  # whole numbers below it fit everywhere
Complaint = str | None
Spec = Callable[[Any, str], Complaint]
"""A value and its name to what is wrong with it; None where nothing is."""


def simple(wanted: str, fits: Callable[[Any], bool]) -> Spec:
    """Wants what fits, and says in words what that is."""

    def spec(value: Any, name: str) -> Complaint:
        return None if fits(value) else f"{name} is {shown(value)}, wanted {wanted}"

    return spec


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


TEXT = simple("text", lambda value: isinstance(value, str))
FLAG = simple("true or false", lambda value: isinstance(value, bool))
WHOLE = simple("a whole number of at least 0", _is_whole)
NUMBER = simple("a number", _is_number)
FINITE = simple("a finite number", lambda value: _is_number(value) and math.isfinite(value))
TENSOR = simple("a tensor", lambda value: hasattr(value, "dtype") and hasattr(value, "shape"))
ANYTHING = simple("anything", lambda value: True)


def maybe(spec: Spec) -> Spec:
    """Allows null besides."""
    return lambda value, name: None if value is None else spec(value, name)


def each(spec: Spec, length: int | None = None) -> Spec:
    """Wants a list of such values, of a given length if there is one."""

    def check(value: Any, name: str) -> Complaint:
        if not isinstance(value, list | tuple):
            return f"{name} is {shown(value)}, wanted a list"
        if length is not None and len(value) != length:
            return f"{name} has {len(value)} entries, wanted {length}"
        return first(spec(item, f"{name}[{i}]") for i, item in enumerate(value))

    return check


def mapping(spec: Spec) -> Spec:
    """Wants a mapping of any names to such values."""

    def check(value: Any, name: str) -> Complaint:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return f"{name} is {shown(value)}, wanted a mapping of names"
        return first(spec(item, f"{name}/{key}") for key, item in value.items())

    return check


def record(needed: Mapping[str, Spec], optional: Mapping[str, Spec] | None = None) -> Spec:
    """Wants a mapping with certain names; others are left alone."""

    def check(value: Any, name: str) -> Complaint:
        if not isinstance(value, Mapping):
            return f"{name} is {shown(value)}, wanted a mapping"
        if missing := [key for key in needed if key not in value]:
            return f"{name} lacks {', '.join(missing)}"
        known = {**needed, **(optional or {})}
        return first(
            spec(value[key], f"{name}/{key}") for key, spec in known.items() if key in value
        )

    return check


def check(value: Any, spec: Spec, name: str, path: str | Path) -> None:
    """Raises UserError where a value of a file is not what a run would have written."""
    if complaint := spec(value, name):
        raise damaged(path, complaint)


def damaged(path: str | Path, complaint: str) -> UserError:
    """The error for a file whose contents are not a run's."""
    return UserError(
        f"'{path}' is damaged or was altered: {complaint}; put back a copy, or start over in "
        "another folder"
    )


def _task(value: Any, name: str) -> Complaint:
    return TEXT(value, name) and mapping(ANYTHING)(value, name)


CONFIG = record(
    {"tasks": each(_task)},
    {"name": TEXT, "family": TEXT, "method_name": TEXT, "preset": TEXT, "seed": WHOLE},
)
"""What every run's configuration holds; its family checks the rest of it."""

META = record(
    {},
    {
        "config": CONFIG,
        "start": mapping(TEXT),
        "env_steps": WHOLE,
        "position": each(WHOLE, 3),
        "metrics_bytes": WHOLE,
        "score": maybe(NUMBER),
        "finished": TEXT,
    },
)
"""What a checkpoint says of itself; which of it there must be depends on what it is used for."""


def first(complaints: Iterator[Complaint]) -> Complaint:
    """Returns the first complaint, None where there is none."""
    return next((complaint for complaint in complaints if complaint), None)


def shown(value: Any) -> str:
    """Returns a value in a few words."""
    if hasattr(value, "dtype"):
        return f"a tensor {list(value.shape)}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    text = repr(value)
    return text if len(text) < 40 else f"{text[:36]}..."
