"""Objectives that shape the representation, one file each; `api` says what such a file holds.

A file with an `OBJECTIVE` in this folder is found by being there, and the file's name is the value
of `objective.representation` that asks for it. Its settings are `representation.NAME`.
"""

from typing import Any

from lib.algos.dreamer.objectives.api import Objective
from lib.core import kinds

KNOWN: dict[str, type[Objective]] = kinds.found(__name__, __path__, "OBJECTIVE")
RepresentationConfig: Any = kinds.settings(
    "RepresentationConfig", __name__, KNOWN, "The settings of every objective that has some."
)
