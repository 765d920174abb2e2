"""Ways to explore, one file each; `api` says what such a file holds.

A file with an `EXPLORATION` in this folder is found by being there, and the file's name is the
value of `explore.bonus` that asks for it; `none` adds nothing to the policy's own randomness.
"""

import importlib
import pkgutil

from lib.algos.dreamer.exploration.api import Exploration


def _found() -> dict[str, type[Exploration]]:
    """Returns every way of this package by name, in the order of the alphabet."""
    found: dict[str, type[Exploration]] = {"none": Exploration}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        if kind := getattr(module, "EXPLORATION", None):
            found[name] = kind
    return found


KNOWN = _found()
