"""Ways to explore, one file each; `api` says what such a file holds.

A file with an `EXPLORATION` in this folder is found by being there, and the file's name is the
value of `explore.bonus` that asks for it; `none` adds nothing to the policy's own randomness.
"""

from lib.algos.dreamer.exploration.api import Exploration
from lib.core import kinds

KNOWN: dict[str, type[Exploration]] = {
    "none": Exploration,
    **kinds.found(__name__, __path__, "EXPLORATION"),
}
