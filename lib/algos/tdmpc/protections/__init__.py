"""Each file here is one protection of the dynamics; `api` says what such a file holds.

A file with a `PROTECTION` in this folder is found by being there. Its name is the protection's, in
`cfg.protections` and in checkpoints.
"""

from typing import Any

from lib.algos.tdmpc.protections.api import Context, Protection
from lib.core import kinds

KNOWN: dict[str, type[Protection]] = kinds.found(__name__, __path__, "PROTECTION")
for name, kind in KNOWN.items():
    kind.name = name
ProtectionsConfig: Any = kinds.settings(
    "ProtectionsConfig",
    __name__,
    KNOWN,
    "The settings of every protection; by default all are off.",
)


def build(cfg: ProtectionsConfig, context: Context) -> list[Protection]:
    """Returns every known protection, whether it is on or off, in order."""
    return [kind(getattr(cfg, name), context) for name, kind in KNOWN.items()]
