"""What a run is asked to do: params files, `-p key=value`, and back from a config.yaml."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lib.algos import registry
from lib.core import config
from lib.core.errors import UserError, short, unknown
from lib.core.plain import check_plain
from lib.core.plain_yaml import read_yaml, read_yaml_file
from lib.experiments import run_config
from lib.experiments.run_config import PARAMETERS
from lib.runner.run_folder import differences
from lib.runner.warm_start import Start

KEPT = ("load_mode", "load_from", "pre_rollout")  # parameters kept beside the configuration


def read(path: Path) -> dict[str, Any]:
    """The mapping in a params file, its keys and types checked.

    Raises:
        UserError: not YAML, not a mapping, an unknown key, a wrong type.
    """
    try:
        found = read_yaml_file(path)
    except ValueError as error:  # also what is not encoded as UTF-8
        raise UserError(f"'{path}' is not valid YAML: {error}; mend it there") from None
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}; give a YAML file") from None
    if not isinstance(found, dict):
        raise UserError(f"'{path}' holds {type(found).__name__}, wanted lines of 'key: value'")
    for key in found:
        if key not in PARAMETERS:
            raise unknown("parameter", key, PARAMETERS, f"in '{path}'")
    run_config.check_parameters(found)
    return found


def add_override(parameters: dict[str, Any], text: str) -> None:
    """Puts one `-p key=value` into the parameters, in place.

    Raises:
        UserError: no equals sign, or a key that is neither a parameter nor a setting.
    """
    key, equals, raw = text.partition("=")
    key = key.strip()
    if not equals:
        raise UserError(f"-p takes KEY=VALUE, got {short(text)}; for example -p seed=3")
    if key in PARAMETERS:
        value = _parameter(key, raw.strip())
        run_config.check_parameters({key: value})
        if key == "overrides":  # what was said before stays, setting by setting
            value = config.flat(parameters.get(key) or {}) | config.flat(value)
        parameters[key] = value
        return
    family = registry.of_preset(str(parameters.get("preset") or PARAMETERS["preset"]))
    settings = config.dotted_keys(family.config())
    if "." not in key:
        raise unknown("parameter", key, PARAMETERS, "or a setting such as planner.samples")
    if key not in settings:
        section = key.split(".")[0]
        inside = [name for name in settings if name.startswith(section + ".")]
        sections = {name.split(".")[0] for name in settings if "." in name}
        raise unknown("setting", key, inside or sections)
    overrides = config.flat(parameters.get("overrides") or {})
    parameters["overrides"] = overrides | {key: _yaml(key, raw)}


def _parameter(key: str, raw: str) -> Any:
    """Text as it stands, a list with or without its brackets, all else as YAML."""
    if isinstance(PARAMETERS[key], str):
        return raw.strip("'\"")
    if isinstance(PARAMETERS[key], list) and not raw.startswith("["):
        raw = f"[{raw}]"  # a shell may want brackets for itself
    return _yaml(key, raw)


def _yaml(key: str, raw: str) -> Any:
    """A value as YAML reads it, and 1e-4 as the number it is."""
    try:
        value = read_yaml(raw)
    except ValueError as error:
        raise UserError(
            f"-p {key}: {short(raw)} is not a YAML value ({error}); put quotes around text"
        ) from None
    check_plain(value, key)
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value):
        return float(value)
    return value


def from_record(held: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook parameters that lead to a resolved configuration.

    What differs from the preset and the method becomes an override.

    Raises:
        UserError: the configuration does not fit this version of the workbook.
    """
    names = {key: key for key in ("name", "preset", "seed", "device", "tasks")}
    names |= {"method": "method_name"} | {key: key for key in KEPT}
    try:
        flat = {name: held[key] for name, key in names.items()}
        run_config.check_parameters(flat)
        plain = config.to_dict(run_config.plain(flat["preset"], flat["method"]))
        overrides = {
            dotted: value
            for section, values in held.items()
            if isinstance(values, dict)
            for dotted, value in _changes(_section(plain, section), values, f"{section}.")
        }
    except KeyError as error:
        raise UserError(
            f"config.yaml does not fit this version of the workbook ({error} is not in both); "
            f"go back to the version that wrote it, or run again"
        ) from None
    parameters = run_config.PARAMETERS | flat | {"overrides": overrides}
    if different := differences(held, record(run_config.resolve(parameters), parameters)):
        raise UserError(
            f"config.yaml does not fit this version of the workbook ({different[0]}); "
            f"go back to the version that wrote it, or run again"
        )
    return parameters


def _section(plain: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of the settings. Raises KeyError for a setting that is none."""
    if not isinstance(plain[name], Mapping):
        raise KeyError(name)
    return plain[name]


def _changes(
    plain: Mapping[str, Any], held: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    """Yields dotted names and values of what differs in a section or those within it."""
    for key, value in held.items():
        if isinstance(value, dict) and isinstance(plain[key], Mapping):
            yield from _changes(plain[key], value, f"{prefix}{key}.")
        elif plain[key] != value:
            yield f"{prefix}{key}", value


def record(run: config.RunConfig, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What the training loop keeps in config.yaml."""
    return Start(*(parameters[key] for key in KEPT)).of_seed(run.seed).record(run)


def about(path: Path) -> str:
    """What a params file is: the published command that it is, or its comment's first sentence."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    text = " ".join(lines)
    if published := re.search(r"[Pp]ublished command ([^.;]*)", text):
        return f"published command {published[1]}"
    return text.split(". ")[0].rstrip(".")
