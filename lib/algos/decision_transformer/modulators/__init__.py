"""Modulators of a sequence model, one file each; `api` says what such a file holds.

A file with a `MODULATOR` in this folder is found by being there, and the file's name is the value
of `modulator.kind` that asks for it. Its settings are `modulators.NAME`.
"""

import dataclasses
import importlib
import pkgutil

from lib.algos.decision_transformer.modulators.api import Modulator


def _found() -> dict[str, type[Modulator]]:
    """Returns every modulator of this package by name, in the order of the alphabet."""
    found = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        if kind := getattr(module, "MODULATOR", None):
            found[name] = kind
    return found


KNOWN = _found()
ModulatorsConfig = dataclasses.make_dataclass(
    "ModulatorsConfig",
    [
        (name, kind.Settings, dataclasses.field(default_factory=kind.Settings))
        for name, kind in KNOWN.items()
        if kind.Settings
    ],
    frozen=True,
    namespace={"__doc__": "The settings of every modulator that has some."},
)
ModulatorsConfig.__module__ = __name__
