"""`lib.algos.registry` knows TD-MPC and DRAGO as the family that is described here."""

from typing import Any

import torch

from lib.algos.api import Family, TransferStudy
from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.presets import ABOUT, FEW_EPISODES, METHODS, PRESETS, TRANSFER
from lib.algos.tdmpc.settings import TdmpcRun
from lib.algos.tdmpc.sizes import least_bytes
from lib.core import config
from lib.core.errors import UserError
from lib.core.seeding import Streams
from lib.envs import worlds
from lib.envs.api import Domain


def check(run: TdmpcRun, inherits: bool) -> None:
    """Raises UserError where settings that are fine alone do not fit each other.

    Args:
        inherits: the first task already starts from another run's world model.
    """
    world = worlds.of(run.env)
    if world.ends_early:
        raise UserError(
            f"env.domain '{run.env.domain}' is a world for the Dreamers, whose presets are named "
            f"after it; TD-MPC and DRAGO here learn in "
            f"{', '.join(worlds.where(lambda world: not world.ends_early))}"
        )
    if run.env.observation != "state":
        raise UserError(
            f"env.observation '{run.env.observation}': TD-MPC and DRAGO here learn from states; "
            "learning from pixels is what the Dreamer family is for. Use env.observation state"
        )
    if set(run.budget.lengths) != {1}:
        raise UserError(
            f"budget.lengths {list(run.budget.lengths)}: tasks of TD-MPC and DRAGO last equally "
            "long here; use [1]"
        )
    worlds.resolve(run.env, run.tasks)
    if run.env.action_repeat != 1 and not world.repeats:
        raise UserError(
            f"env.action_repeat {run.env.action_repeat}: a step of the {run.env.domain} is a "
            "decision; use 1"
        )
    if run.env.episode_length % run.env.action_repeat:
        raise UserError(
            f"env.episode_length {run.env.episode_length} is not a multiple of env.action_repeat "
            f"{run.env.action_repeat}; take {run.env.decisions * run.env.action_repeat}"
        )
    counts = run.reviewer.count_bonus == "grid"
    if (run.model.bounded and not world.bounded) or (counts and not world.has_cells):
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
    if run.planner.snap and not worlds.of(run.env).has_cells:
        raise UserError(
            f"planner.snap rounds imagined observations to cells, and '{run.env.domain}' has none; "
            "leave it off there"
        )
    if run.planner.elites > run.planner.samples:
        raise UserError(
            f"planner.elites {run.planner.elites} is more than planner.samples "
            f"{run.planner.samples}, of which they are the best; take at most {run.planner.samples}"
        )
    if run.reviewer.ratio == 0:
        raise UserError("reviewer.ratio 0 leaves the reviewer no rows of its own; take more than 0")
    if run.reviewer.norm == "absolute" and run.reviewer.shape == "code":
        raise UserError(
            "reviewer.norm 'absolute' needs reviewer.shape 'paper': the threshold of shape 'code' "
            "is measured on squared errors, about twice as large in the logarithm"
        )


def cut(run: TdmpcRun, index: int) -> TdmpcRun:
    """Returns the run from a task on; each task keeps the horizon of the whole sequence."""
    horizon = run.planner.horizon
    kept = horizon[min(index, len(horizon) - 1) :]
    return config.merge(run, {"tasks": run.tasks[index:], "planner": {"horizon": kept}})


def build(run: TdmpcRun, domain: Domain, streams: Streams, device: torch.device) -> ContinualAgent:
    """Builds the agent of a run."""
    return ContinualAgent(
        run,
        domain.obs_dim,
        domain.actions,
        domain.episode_length,
        streams,
        device,
        grid_size=domain.grid_size,
    )


def for_acting(run: TdmpcRun) -> TdmpcRun:
    """Returns the run with a replay of one episode."""
    return config.merge(run, {"budget": {"env_steps_per_task": run.env.episode_length}})


def networks(run: TdmpcRun) -> dict[str, Any]:
    """Returns the settings that fix the layout of dynamics and generator."""
    sections = config.to_dict(run)
    return {
        "model": sections["model"],
        "vae": {key: sections["vae"][key] for key in ("code", "width")},
    }


FAMILY = Family(
    config=TdmpcRun,
    presets=PRESETS,
    methods=METHODS,
    about=ABOUT,
    method="drago",
    check=check,
    cut=cut,
    build=build,
    for_acting=for_acting,
    least_bytes=least_bytes,
    transfer_study=TransferStudy(
        tasks=TRANSFER,
        learner="tdmpc",  # no reviewer, no rehearsal
        scratch="scratch",
        sources=("tdmpc", "drago"),
        few_episodes=FEW_EPISODES,
        networks=networks,
    ),
)
