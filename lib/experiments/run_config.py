"""Parameters of a run to its complete configuration: preset, method, overrides, seeds."""

from collections.abc import Mapping
from typing import Any

from lib.algos import registry
from lib.algos.api import Family
from lib.core import config
from lib.core.config import RunConfig
from lib.core.errors import UserError, short, unknown
from lib.core.plain import check_plain, plain_name
from lib.engine import machine
from lib.envs import worlds
from lib.runner.record import WANDB_MODES
from lib.runner.training import VIDEO
from lib.runner.warm_start import LOAD_MODES
from lib.runner.window import RENDER

PARAMETERS: dict[str, Any] = {
    # What a notebook or a params file may set, with its default.
    "name": "",
    "preset": "grid-quick",
    "method": "",
    "seed": 0,
    "seeds": [],
    "device": "auto",
    "tasks": [],
    "start_at": "",
    "env_steps_per_task": 0,
    "load_mode": "",
    "load_from": "",
    "pre_rollout": "",
    "overrides": {},
    "video": "final",
    "render": "",
    "wandb": "",
    "out_dir": "",
}
CHOICES = {  # "" first: none
    "load_mode": LOAD_MODES,
    "video": VIDEO,
    "render": RENDER,
    "wandb": WANDB_MODES,
}


def plain(preset: str, method: str) -> RunConfig:
    """Defaults, preset, method ("" for the family's own), and its sizes in the preset.

    Raises:
        UserError: an unknown preset, or a method that the preset's family does not have.
    """
    family = registry.of_preset(preset)
    method = method or family.method
    if method not in family.methods:
        raise _method_of(method, family, preset)
    run = config.merge(family.config(), family.presets[preset])
    run = config.merge(run, family.methods[method])
    run = config.merge(run, family.sizes.get(preset, {}).get(method, {}))
    return config.merge(run, {"preset": preset, "method_name": method})


def _method_of(method: str, family: Family, preset: str) -> UserError:
    """The error for a method that a preset's family does not have."""
    others = [other for other in map(registry.family, registry.FAMILIES) if method in other.methods]
    hint = f"for preset '{preset}'"
    if others:
        hint += f"; '{method}' goes with presets such as {', '.join(list(others[0].presets)[:3])}"
    return unknown("method", method, family.methods, hint)


def check_parameters(
    parameters: Mapping[str, Any], declared: Mapping[str, Any] = PARAMETERS
) -> None:
    """Refuses parameters that do not exist, and values of another type than their default.

    Args:
        declared: parameters to their defaults.

    Raises:
        UserError: one of these, or a value that is none of a closed list.
    """
    for key, value in parameters.items():
        if key not in declared:
            raise unknown("parameter", key, declared)
        check_plain(value, f"parameter '{key}'")
        wanted = type(declared[key])
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is int):
            raise UserError(
                f"parameter '{key}': got {short(value)} of type {type(value).__name__}, "
                f"wanted {wanted.__name__}"
            )
        if value not in CHOICES.get(key, (value,)):
            raise unknown(key, value, CHOICES[key][1:], "or nothing, for none")


def _settings(overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """Overrides, all of which are settings of a section: what a preset decides stays as it is."""
    for key, value in overrides.items():
        if "." in key or isinstance(value, Mapping):
            continue
        parameter = {"method_name": "method"}.get(key, key)
        told = f"parameters are {', '.join(PARAMETERS)}"
        if parameter in PARAMETERS:
            told = f"say '{parameter}: ...' beside overrides, or '-p {parameter}=...'"
        raise UserError(
            f"overrides: {short(key)} is no setting of a section, such as planner.samples; {told}"
        )
    return overrides


def resolve(parameters: Mapping[str, Any]) -> RunConfig:
    """The complete configuration that a few parameters name; of several seeds the first one's.

    Defaults, then the preset, then the method, then the overrides. Raises as `resolve_seeds`.
    """
    return resolve_seeds(parameters)[0]


def resolve_seeds(parameters: Mapping[str, Any]) -> tuple[RunConfig, ...]:
    """The same for every seed that is asked for, in that order; they differ in nothing else.

    Raises:
        UserError: an unknown parameter, preset, method, task, setting or device, a wrong type,
            a name that is no plain file name, or numbers that do not fit each other.
    """
    check_parameters(parameters)
    given = PARAMETERS | dict(parameters)
    seeds = _seeds(given["seed"], given["seeds"])
    run = plain(given["preset"], given["method"])
    changes: dict[str, Any] = {
        "name": given["name"] or f"{run.method_name}-{run.preset}",
        "seed": seeds[0],
        "device": given["device"],
    }
    if given["tasks"]:
        changes["tasks"] = given["tasks"]
    if given["env_steps_per_task"]:
        changes["budget"] = {"env_steps_per_task": given["env_steps_per_task"]}
    run = config.set_dotted(config.merge(run, changes), _settings(given["overrides"]))
    if given["start_at"]:
        run = _from_task(run, given["start_at"], inherits=bool(given["load_mode"]))
    check(run, inherits=bool(given["load_mode"]))
    check_fits(run, len(seeds))
    return tuple(config.merge(run, {"seed": seed}) for seed in seeds)


def check_fits(run: RunConfig, seeds: int = 1) -> None:
    """Raises UserError where the run's device does not exist, or its memory is too small."""
    device, family = machine.choose_device(run.device), registry.of(run)
    if family.least_bytes:
        usual = plain(run.preset, run.method_name)
        machine.check_fits(run, usual, family.least_bytes, seeds, device)


def check(run: RunConfig, inherits: bool = False) -> None:
    """Raises UserError where settings that are fine alone do not fit each other.

    Args:
        inherits: the first task already starts from another run's world model.
    """
    registry.of(run).check(run, inherits)
    plain_name(run.name)
    worlds.resolve(run.env, run.tasks)


def _seeds(seed: int, seeds: list[Any]) -> list[int]:
    """All seeds that `seed` or `seeds` ask for."""
    if not seeds:
        return [seed]
    checked_seeds(seeds)
    if seed != PARAMETERS["seed"]:
        raise UserError(
            f"seed {seed} and seeds {seeds} are both given; name every seed in seeds, or leave "
            "seeds empty for a single run"
        )
    return list(seeds)


def checked_seeds(seeds: list[Any]) -> list[int]:
    """Seeds as they are. Raises UserError for what is none, and for one that is there twice."""
    for number in seeds:
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise UserError(
                f"parameter 'seeds': got {short(number)}, wanted whole numbers of 0 or more, "
                "such as [0, 1, 2]"
            )
        if seeds.count(number) > 1:
            raise UserError(f"parameter 'seeds': {number} is there twice; name every seed once")
    return seeds


def _from_task(run: RunConfig, start_at: str, inherits: bool) -> RunConfig:
    """The rest of a sequence, from a named task on."""
    names = [task.name for task in worlds.resolve(run.env, run.tasks)]
    wanted = {start_at, start_at.replace("_", "-")}  # as the names of control tasks are read
    index = next((i for i, name in enumerate(names) if wanted & {name, _short(name)}), None)
    if index is None:
        raise unknown("task", start_at, names, "start_at takes one of the run's own tasks")
    if index and not inherits and run.carries:
        raise UserError(
            f"start_at {start_at!r} goes on where a run over {', '.join(names[:index])} ended; "
            "name that run with load_mode world-model and load_from FOLDER"
        )
    return registry.of(run).cut(run, index)


def _short(name: str) -> str:
    """A task's name without its domain: run-backwards of cheetah-run-backwards."""
    return name.split("-", 1)[-1]
