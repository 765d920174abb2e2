"""What the files of a run's folder must hold, and their reader."""

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.files import open_regular
from lib.core.plain import check_plain
from lib.core.plain_yaml import read_yaml_file
from lib.core.storage import NOT_THE_FILES, holding_nothing
from lib.runner import expected
from lib.runner.expected import (
    ANYTHING,
    FINITE,
    NUMBER,
    TEXT,
    WHOLE,
    each,
    mapping,
    maybe,
)

COMPLETE = "complete"  # the status of a run that has come to its end
UNITS = ("task_env_steps", "task_updates")  # what curves are drawn over
RUN_KEYS = ("method_name", "preset", "seed", "tasks", "budget")  # in every run's config.yaml

# What reading damaged arrays raises.
BROKEN = (ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error)
NUMBERS = each(maybe(NUMBER))
CURVES = mapping(mapping(NUMBERS))
CONFIG = expected.record(dict.fromkeys(RUN_KEYS, ANYTHING), {"method_name": TEXT})
PROGRESS = expected.record(
    {"env_steps": WHOLE, "env_steps_total": WHOLE},
    {
        "task": TEXT,
        "task_index": WHOLE,
        "tasks": WHOLE,
        "phase": TEXT,
        "updates": WHOLE,
        "updates_total": WHOLE,
        "updates_pending": WHOLE,
        "decisions": WHOLE,
        "env_steps_per_s": FINITE,
        "updates_per_s": FINITE,
        "eta_s": maybe(FINITE),
        "last_return": maybe(NUMBER),
        "optimum": maybe(NUMBER),
        "seeds": each(WHOLE),
    },
)
METRIC = expected.record(
    {"env_steps": WHOLE, "values": mapping(maybe(NUMBER))},
    {"stage": TEXT, "task": TEXT, "updates": WHOLE, "task_updates": WHOLE},
)
_TOLD = expected.record(
    {"status": TEXT},
    {
        "name": TEXT,
        "method": TEXT,
        "preset": TEXT,
        "seeds": each(WHOLE),
        "env_steps": WHOLE,
        "decisions": WHOLE,
        "updates": WHOLE,
        "dropped_episodes": WHOLE,
        "wall_clock_s": NUMBER,
        "seeds_together": WHOLE,
        "hardware": mapping(ANYTHING),
        "commit": TEXT,
        "versions": mapping(ANYTHING),
        "tasks": each(TEXT),
        "optimum": maybe(mapping(maybe(NUMBER))),
        "optimum_is": expected.simple("exact or ceiling", lambda x: x in ("exact", "ceiling")),
        "prepares": WHOLE,
        "return_matrix": each(NUMBERS),
        "success_matrix": each(NUMBERS),
        "success_any_matrix": each(NUMBERS),
        "final_return": maybe(mapping(maybe(NUMBER))),
        "curves": maybe(CURVES),
        "monitor": maybe(CURVES),
        "audit": maybe(each(mapping(maybe(NUMBER)))),
        "config": mapping(ANYTHING),
    },
)
_NEEDED = expected.record(
    dict.fromkeys(
        ("name", "method", "preset", "seeds", "tasks", "optimum", "return_matrix"), ANYTHING
    )
)


def _summary(value: Any, name: str) -> expected.Complaint:
    """Wants what a run came to; of one that is complete, all that programs ask for."""
    if complaint := _TOLD(value, name):
        return complaint
    if value["status"] != COMPLETE:
        return None
    return _NEEDED(value, name) or _consistent(value, name)


def _consistent(told: dict[str, Any], name: str) -> expected.Complaint:
    """Says what in a summary does not fit its tasks."""
    tasks = told["tasks"]
    if not tasks or len(set(tasks)) < len(tasks) or not told["seeds"]:
        return f"{name} names no task, a task twice, or no seed"
    matrices = [told.get(f"{part}_matrix") or [] for part in ("return", "success", "success_any")]
    sizes = [len(rows) for rows in matrices] + [len(row) for rows in matrices for row in rows]
    if max(len(told.get("audit") or []), *sizes) > len(tasks):
        return f"{name} has more rows or columns than its {len(tasks)} tasks"
    if told.get("prepares", 0) > len(tasks):
        return f"{name} prepares in more than its {len(tasks)} tasks"
    for task, curve in (told.get("curves") or {}).items():
        unit = next((unit for unit in UNITS if unit in curve), None)
        if not unit or "return" not in curve or len(curve[unit]) != len(curve["return"]):
            return f"{name}/curves/{task} is no curve"
    return None


SUMMARY: expected.Spec = _summary


def read_json(path: Path, spec: expected.Spec) -> dict[str, Any] | None:
    """Returns what a file holds; None where it is not there.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        with open_regular(path) as file:
            found = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise expected.damaged(path, "it is a link to nothing") from None
        return None
    except OSError as error:
        if error.errno in NOT_THE_FILES:
            raise
        raise expected.damaged(path, f"it cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise expected.damaged(path, f"it cannot be read ({error})") from None
    expected.check(found, spec, "it", path)
    return found


def read_config(path: Path) -> dict[str, Any] | None:
    """Returns the configuration that a file holds; None where there is no such thing."""
    found = read_mapping(path)
    return None if CONFIG(found, "it") else found


def read_mapping(path: Path) -> dict[str, Any] | None:
    """Returns the mapping of plain values in a YAML file; None where there is no such thing."""
    with holding_nothing():
        found = read_yaml_file(path)
        check_plain(found, str(path))
        return found if isinstance(found, dict) else None
    return None


def metric(line: bytes) -> dict[str, Any] | None:
    """Returns what a line of metrics says; None where it is damaged."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return None if METRIC(found, "it") else found


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays in a .npz file, none of which is executed.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        with open_regular(path) as file:
            packed = io.BytesIO(file.read())
        with np.load(packed, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (*BROKEN, OSError) as error:
        if getattr(error, "errno", None) in NOT_THE_FILES:
            raise
        raise expected.damaged(path, f"it is no file of arrays ({error})") from None
