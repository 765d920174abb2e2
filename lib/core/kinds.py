"""Kinds of one thing, a file each: a package finds them by name and joins their settings."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any


def found(package: str, path: Iterable[str], attribute: str) -> dict[str, Any]:
    """Returns what files of a package offer, by the file's name, in the order of the alphabet.

    Args:
        package, path: its `__name__` and `__path__`.
        attribute: what such a file calls it; a file without it is passed over.
    """
    kinds = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(path)):
        module = importlib.import_module(f"{package}.{name}")
        if kind := getattr(module, attribute, None):
            kinds[name] = kind
    return kinds


def settings(name: str, package: str, kinds: Mapping[str, Any], about: str) -> type:
    """Returns a frozen dataclass with the `Settings` of every kind that has some, by its name.

    Args:
        name: of the dataclass, which `package` holds under that name.
        kinds: from `found`.
        about: its docstring.
    """
    fields = [
        (kind, each.Settings, dataclasses.field(default_factory=each.Settings))
        for kind, each in kinds.items()
        if each.Settings
    ]
    made = dataclasses.make_dataclass(name, fields, frozen=True, namespace={"__doc__": about})
    made.__module__ = package
    return made
