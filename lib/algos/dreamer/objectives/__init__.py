"""Objectives that shape the representation, one file each; `api` says what such a file holds.

A file with an `OBJECTIVE` in this folder is found by being there, and the file's name is the value
of `objective.representation` that asks for it.
"""

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
