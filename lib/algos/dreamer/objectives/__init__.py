"""Objectives that shape the representation, one file each; `api` says what such a file holds.

A file with an `OBJECTIVE` in this folder is found by being there, and the file's name is the value
of `objective.representation` that asks for it. Its settings are `representation.NAME`.
"""

import dataclasses
import importlib
import pkgutil

from lib.algos.dreamer.objectives.api import Objective


def _found() -> dict[str, type[Objective]]:
    """Returns every objective of this package by name, in the order of the alphabet."""
    found = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        if kind := getattr(module, "OBJECTIVE", None):
            found[name] = kind
    return found


KNOWN = _found()
RepresentationConfig = dataclasses.make_dataclass(
    "RepresentationConfig",
    [
        (name, kind.Settings, dataclasses.field(default_factory=kind.Settings))
        for name, kind in KNOWN.items()
        if kind.Settings
    ],
    frozen=True,
    namespace={"__doc__": "The settings of every objective that has some."},
)
RepresentationConfig.__module__ = __name__
