"""Each file here is one protection of the dynamics; `api` says what such a file holds.

A file with a `PROTECTION` in this folder is found by being there. Its name is the protection's, in
`cfg.protections` and in checkpoints.
"""

import dataclasses
import importlib
import pkgutil

from lib.algos.tdmpc.protections.api import Context, Protection


def _found() -> dict[str, type[Protection]]:
    """Returns every protection of this package, by name, in the order of the alphabet."""
    found = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        if kind := getattr(module, "PROTECTION", None):
            kind.name = name
            found[name] = kind
    return found


KNOWN = _found()
ProtectionsConfig = dataclasses.make_dataclass(
    "ProtectionsConfig",
    [(name, kind.Settings, kind.Settings()) for name, kind in KNOWN.items()],
    frozen=True,
    namespace={"__doc__": "The settings of every protection; by default all are off."},
)
ProtectionsConfig.__module__ = __name__


def build(cfg: ProtectionsConfig, context: Context) -> list[Protection]:
    """Returns every known protection, whether it is on or off, in order."""
    return [kind(getattr(cfg, name), context) for name, kind in KNOWN.items()]
