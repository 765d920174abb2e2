"""Reads studies: comparisons in which each start, an arm, is a params file.

A study is a file below `params/studies/`, which has a name for every arm, and the params file that
the arm is, with changes where it is not quite that:

    arms:
      scratch: dreamer-v1-sources-quick
      omega-0.5: {params: dreamer-v1-sources-quick-ftl, overrides: {transfer.omega: 0.5}}
    seeds: [0, 1, 2]

`sources` beside `arms` are written like these: runs to build on that have no params file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.core import config
from lib.core.errors import UserError, short, unknown
from lib.core.paths import PARAMS, ROOT, from_root, shown
from lib.core.plain import plain_name
from lib.core.plain_yaml import read_yaml_file
from lib.experiments import catalogue, run_config

KEYS = ("arms", "sources", "seeds")


@dataclass(frozen=True)
class Arms:
    """What a file says: names to parameters of notebooks/20_run.py, complete but for seeds."""

    name: str
    arms: Mapping[str, dict[str, Any]]
    sources: Mapping[str, dict[str, Any]]  # runs to build on that have no params file of their own
    seeds: tuple[int, ...]

    @property
    def preset(self) -> str:
        """The one of all arms."""
        return next(iter(self.arms.values()))["preset"]


def named_first(words: Sequence[str], folder: Path = PARAMS) -> tuple[str, list[str]]:
    """Returns the study that the first of some words names, or "", and the other words.

    It is named by its file's name or by a path, and comes back as seen from the repository's root.
    """
    if not words:
        return "", []
    first, *others = words
    if first in catalogue.studies(folder):
        return first, others
    if Path(first).suffix in catalogue.ENDINGS[1:] and Path(first).is_file():
        return from_root(Path(first)), others
    return "", list(words)


def read(name: str, folder: Path = PARAMS) -> Arms:
    """Reads the study that a name or a path stands for.

    Raises:
        UserError: there is none, or the file says what cannot be.
    """
    known = catalogue.studies(folder)
    path = known.get(name) or ROOT / name
    if not path.is_file():
        raise unknown("study", name, known, f"of {shown(folder / catalogue.STUDIES)}")
    where = f"in '{shown(path)}'"
    try:
        found = read_yaml_file(path)
    except ValueError as error:
        raise UserError(f"'{shown(path)}' is not valid YAML: {error}; mend it there") from None
    if not isinstance(found, dict) or not _is_table(found.get("arms")):
        raise UserError(f"no arms {where}; list them as 'arms: {{scratch: PARAMS, ...}}'")
    for key in found:
        if key not in KEYS:
            raise unknown("key", key, KEYS, where)
    if not _is_table(found.get("sources", {"": ""})):
        raise UserError(f"sources {where}: wanted names to params files, as arms are")
    seeds = found.get("seeds", [run_config.PARAMETERS["seed"]])
    if not isinstance(seeds, list) or not seeds:
        raise UserError(f"seeds {where}: got {short(seeds)}, wanted a list such as [0, 1, 2]")
    named = {key: _named(found.get(key, {}), folder, where) for key in ("arms", "sources")}
    presets = {arm: given["preset"] for arm, given in named["arms"].items()}
    if len(set(presets.values())) > 1:
        several = ", ".join(f"{arm}: {preset}" for arm, preset in presets.items())
        raise UserError(
            f"arms {where} are of several presets ({several}), so that more than what they begin "
            "with would differ; take files of one"
        )
    return Arms(path.stem, named["arms"], named["sources"], tuple(run_config.checked_seeds(seeds)))


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _named(table: Mapping[Any, Any], folder: Path, where: str) -> dict[str, dict[str, Any]]:
    """Reads a table of names to entries; returns names to parameters."""
    return {
        plain_name(str(each), f"name {where}"): parameters_of(entry, folder, f"'{each}' {where}")
        for each, entry in table.items()
    }


def parameters_of(entry: Any, folder: Path, where: str) -> dict[str, Any]:
    """Returns parameters of a params file by its name, with what is to be changed in it."""
    entry = {"params": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("params"), str):
        raise UserError(
            f"{where}: got {short(entry)}, wanted a params file, or {{params: NAME, ...}}"
        )
    changes = {key: value for key, value in entry.items() if key != "params"}
    run_config.check_parameters(changes)
    given = run_config.PARAMETERS | catalogue.read(entry["params"], folder)
    overrides = config.flat(given["overrides"]) | config.flat(changes.get("overrides") or {})
    return given | changes | {"overrides": overrides}
