"""Names to builders: the only module that knows which families exist."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lib import config
from lib.config import RunConfig
from lib.envs import worlds
from lib.envs.api import Domain
from lib.errors import UserError, unknown
from lib.seeding import Streams
from lib.tdmpc.drago import ContinualAgent
from lib.tdmpc.presets import METHODS, PRESETS
from lib.tdmpc.team import Team

PARAMETERS: dict[str, Any] = {
    # What a notebook or a params file may set, with its default.
    "name": "",
    "preset": "grid-quick",
    "method": "drago",
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
    "wandb": "",
    "out_dir": "",
}


def resolve(parameters: Mapping[str, Any]) -> RunConfig:
    """The complete configuration that a few parameters name; of several seeds the first one's.

    Defaults, then the preset, then the method, then the overrides. Raises as `resolve_seeds`.
    """
    return resolve_seeds(parameters)[0]


def resolve_seeds(parameters: Mapping[str, Any]) -> tuple[RunConfig, ...]:
    """The same for every seed that is asked for, in that order; they differ in nothing else.

    Raises:
        UserError: an unknown parameter, preset, method, task or setting, a wrong type, or
            numbers that do not fit each other.
    """
    for key, value in parameters.items():
        if key not in PARAMETERS:
            raise unknown("parameter", key, PARAMETERS)
        wanted = type(PARAMETERS[key])
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is int):
            raise UserError(
                f"parameter '{key}': got {value!r} of type {type(value).__name__}, "
                f"wanted {wanted.__name__}"
            )
    given = PARAMETERS | dict(parameters)
    seeds = _seeds(given["seed"], given["seeds"])
    if given["preset"] not in PRESETS:
        raise unknown("preset", given["preset"], PRESETS)
    if given["method"] not in METHODS:
        raise unknown("method", given["method"], METHODS)
    run = config.merge(RunConfig(), PRESETS[given["preset"]])
    run = config.merge(run, {"method": METHODS[given["method"]]})
    changes: dict[str, Any] = {
        "name": given["name"] or f"{given['method']}-{given['preset']}",
        "preset": given["preset"],
        "method_name": given["method"],
        "seed": seeds[0],
        "device": given["device"],
    }
    if given["tasks"]:
        changes["tasks"] = given["tasks"]
    if given["env_steps_per_task"]:
        changes["budget"] = {"env_steps_per_task": given["env_steps_per_task"]}
    run = config.set_dotted(config.merge(run, changes), given["overrides"])
    if given["start_at"]:
        run = _from_task(run, given["start_at"], inherits=bool(given["load_mode"]))
    check(run, inherits=bool(given["load_mode"]))
    return tuple(config.merge(run, {"seed": seed}) for seed in seeds)


def _seeds(seed: int, seeds: list[Any]) -> list[int]:
    """All seeds that `seed` or `seeds` ask for."""
    if not seeds:
        return [seed]
    for number in seeds:
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise UserError(
                f"parameter 'seeds': got {number!r}, wanted whole numbers of 0 or more, "
                "such as [0, 1, 2]"
            )
        if seeds.count(number) > 1:
            raise UserError(f"parameter 'seeds': {number} is there twice; name every seed once")
    if seed != PARAMETERS["seed"]:
        raise UserError(
            f"seed {seed} and seeds {seeds} are both given; name every seed in seeds, or leave "
            "seeds empty for a single run"
        )
    return list(seeds)


def _from_task(run: RunConfig, start_at: str, inherits: bool) -> RunConfig:
    """The rest of a sequence, from a named task on, each task with the horizon it has there."""
    names = [task.name for task in worlds.resolve(run.env, run.tasks)]
    wanted = {start_at, start_at.replace("_", "-")}  # as the names of control tasks are read
    index = next((i for i, name in enumerate(names) if wanted & {name, _short(name)}), None)
    if index is None:
        raise unknown("task", start_at, names, "start_at takes one of the run's own tasks")
    if index and not inherits and run.method.carry != "nothing":
        raise UserError(
            f"start_at {start_at!r} goes on where a run over {', '.join(names[:index])} ended; "
            "name that run with load_mode world-model and load_from FOLDER"
        )
    horizon = run.planner.horizon
    kept = horizon[min(index, len(horizon) - 1) :]
    return config.merge(run, {"tasks": run.tasks[index:], "planner": {"horizon": kept}})


def _short(name: str) -> str:
    """A task's name without its domain: run-backwards of cheetah-run-backwards."""
    return name.split("-", 1)[-1]


def check(run: RunConfig, inherits: bool = False) -> None:
    """Raises UserError where settings that are fine alone do not fit each other.

    Args:
        inherits: the first task already starts from another run's world model.
    """
    if run.env.observation == "pixels":
        raise UserError(
            "env.observation 'pixels': TD-MPC and DRAGO here learn from states; learning from "
            "pixels is what the Dreamer family is for. Use env.observation state"
        )
    worlds.resolve(run.env, run.tasks)
    if run.env.domain == "grid" and run.env.action_repeat != 1:
        raise UserError(
            f"env.action_repeat {run.env.action_repeat}: a step of the grid is a decision; use 1"
        )
    if run.env.episode_length % run.env.action_repeat:
        raise UserError(
            f"env.episode_length {run.env.episode_length} is not a multiple of env.action_repeat "
            f"{run.env.action_repeat}; take {run.env.decisions * run.env.action_repeat}"
        )
    if run.env.domain != "grid" and (run.model.bounded or run.reviewer.count_bonus == "grid"):
        raise UserError(
            f"the states of '{run.env.domain}' have no bounds and no cells: set model.bounded "
            "false and reviewer.count_bonus bounded, as the presets named after it do"
        )
    round_steps = run.budget.parallel_envs * run.env.episode_length
    roles = 2 if run.method.review and (inherits or len(run.tasks) > 1) else 1
    stride, budget = round_steps * roles, run.budget.env_steps_per_task
    if budget % stride:
        low = budget // stride * stride
        near = " or ".join(str(n) for n in (low, low + stride) if n)
        raise UserError(
            f"env_steps_per_task {budget} is not a multiple of {stride} "
            f"({run.budget.parallel_envs} parallel episodes of {run.env.episode_length} steps"
            f"{' for learner and reviewer' if roles == 2 else ''}); take {near}"
        )
    shortest = min(run.planner.horizon, default=0)
    if not shortest or max(run.planner.horizon) >= run.env.decisions:
        raise UserError(
            f"planner.horizon {list(run.planner.horizon)} must hold numbers from 1 to "
            f"{run.env.decisions - 1}, less than an episode's decisions"
        )
    if run.reviewer.ratio == 0:
        raise UserError("reviewer.ratio 0 leaves the reviewer no rows of its own; take more than 0")
    if run.reviewer.norm == "absolute" and run.reviewer.shape == "code":
        raise UserError(
            "reviewer.norm 'absolute' needs reviewer.shape 'paper': the threshold of shape 'code' "
            "is measured on squared errors, about twice as large in the logarithm"
        )


def choose_device(name: str) -> torch.device:
    """ "auto" takes a CUDA device where one is usable, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise unknown("device", name, ["auto", "cpu", "cuda", "cuda:0"]) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device '{name}' was asked for but PyTorch sees no CUDA device here; "
            "use device 'cpu' or 'auto'"
        )
    return device


def build(run: RunConfig, streams: Streams, device: torch.device) -> tuple[ContinualAgent, Domain]:
    """The agent and the world that a configuration describes."""
    domain = worlds.build(run.env, run.tasks, device)
    return build_agent(run, domain, streams, device), domain


def build_agent(
    run: RunConfig, domain: Domain, streams: Streams, device: torch.device
) -> ContinualAgent:
    """The agent alone, for a world that is there already."""
    return ContinualAgent(
        run,
        domain.obs_dim,
        domain.actions,
        domain.episode_length,
        streams,
        device,
        grid_size=domain.grid_size,
    )


def team(agents: Sequence[ContinualAgent]) -> Team:
    """What acts and learns for agents that differ by their seed alone, all at once."""
    return agents[0].team if len(agents) == 1 else Team(agents)
