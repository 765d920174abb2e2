"""What a run began with: what it took of other runs, in a few words, and which runs those were."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from lib.algos import registry
from lib.core.config import RunConfig
from lib.core.errors import UserError
from lib.runner.warm_start import SEED, Start

START = tuple(asdict(Start()))  # what config.yaml holds beside the configuration


class Origin(NamedTuple):
    """What a run began with; empty where that was nothing."""

    begins: str = ""  # such as "world-model", or "fractional, ω 0.2"
    sources: tuple[str, ...] = ()  # names of the runs that this is of, without their seeds
    first: str = ""  # name of the run whose agent acts before the learner does

    def __str__(self) -> str:
        taken = f"{self.begins} of {', '.join(self.sources)}" if self.begins else ""
        return ", ".join(filter(None, (taken, self.first and f"{self.first} acting first")))


def of_record(record: Mapping[str, Any]) -> Origin:
    """Returns what a run began with.

    Args:
        record: what its config.yaml holds.
    """
    mode = str(record.get("load_mode") or "")
    begins, places = mode, [record.get("load_from")] if mode else []
    with suppress(UserError):  # of another version of the workbook
        run = registry.from_dict({key: v for key, v in record.items() if key not in START})
        begins = registry.of(run).begins(run, mode)
        places += [part.path for part in registry.of(run).foreign(run)]
    first = record.get("pre_rollout")
    return Origin(begins, tuple(dict.fromkeys(map(source, places))), source(first) if first else "")


def source(place: object) -> str:
    """Returns the name of the run that a folder or file belongs to, without its seed."""
    path = Path(str(place))
    path = path.parent.parent if path.suffix == ".safetensors" else path
    return re.sub(rf"-s([0-9]+|{re.escape(SEED)})$", "", path.name)


def without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a run's settings but for where parts of other runs lie, which differs by the seed.

    Args:
        settings: a whole configuration as a mapping, or a part of one, which comes back as it is.
    """
    try:
        run: RunConfig = registry.from_dict(settings)
    except (UserError, KeyError):
        return dict(settings)
    left = dict(settings)
    for part in registry.of(run).foreign(run):
        section, _, name = part.setting.partition("[")[0].partition(".")
        left[section] = {key: value for key, value in left[section].items() if key != name}
    return left
