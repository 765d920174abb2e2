"""What a family of methods is to the rest of the workbook: values, and four functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.config import RunConfig

Sections = Mapping[str, Any]  # settings by section, as `config.merge` takes them


def layered(*layers: Sections) -> dict[str, Any]:
    """Presets laid over each other, section by section; later ones win."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return merged


@dataclass(frozen=True)
class Family:
    """A row of `lib.families`.

    Args:
        config: its complete configuration, whose defaults presets and methods change.
        presets, methods: names to what they change; about: methods to one line each.
        method: the one that is run where none is named.
        check: raises UserError where settings that are fine alone do not fit each other; takes the
            run and whether its first task starts from another run's world model.
        cut: the same run from its task with a given index on.
        build: the agent of a run, from the run, its world, generators and device.
        team: what acts and learns for agents that differ by their seed alone, all at once.
    """

    config: type[RunConfig]
    presets: Mapping[str, Sections]
    methods: Mapping[str, Sections]
    about: Mapping[str, str]
    method: str
    check: Callable[[Any, bool], None]
    cut: Callable[[Any, int], Any]
    build: Callable[..., Any]
    team: Callable[[Sequence[Any]], Any]
