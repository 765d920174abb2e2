"""Modulators of a sequence model, one file each; `api` says what such a file holds.

A file with a `MODULATOR` in this folder is found by being there, and the file's name is the value
of `modulator.kind` that asks for it. Its settings are `modulators.NAME`.
"""

from typing import Any

from lib.algos.decision_transformer.modulators.api import Modulator
from lib.core import kinds

KNOWN: dict[str, type[Modulator]] = kinds.found(__name__, __path__, "MODULATOR")
ModulatorsConfig: Any = kinds.settings(
    "ModulatorsConfig", __name__, KNOWN, "The settings of every modulator that has some."
)
