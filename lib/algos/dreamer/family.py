"""`FAMILY` is what `lib.algos.registry` knows of the Dreamers."""

import torch

from lib.algos.api import Family
from lib.algos.dreamer import exploration, meta, objectives, parts
from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.networks import check_side
from lib.algos.dreamer.presets import ABOUT, METHODS, PRESETS, SIZES
from lib.algos.dreamer.run_settings import DreamerRun
from lib.algos.dreamer.sizes import least_bytes
from lib.core import config
from lib.core.errors import UserError, unknown
from lib.core.seeding import Streams
from lib.envs import worlds
from lib.envs.api import Domain


def check(run: DreamerRun, inherits: bool) -> None:
    """Raises UserError where settings that are fine alone do not fit each other."""
    env, budget = run.env, run.budget
    world = worlds.of(env)
    if not world.ends_early:
        raise UserError(
            f"env.domain '{env.domain}' is a world of TD-MPC and DRAGO; the Dreamers here learn in "
            f"{', '.join(worlds.where(lambda world: world.ends_early))}"
        )
    if env.observation not in world.observations:
        seen = " or ".join(f"'{name}'" for name in world.observations)
        raise UserError(
            f"env.observation '{env.observation}': {env.domain} is seen as {seen}; use one of these"
        )
    if env.action_repeat != 1 and not world.repeats:
        raise UserError(
            f"env.action_repeat {env.action_repeat}: a step of {env.domain} is a decision; use 1"
        )
    worlds.resolve(env, run.tasks)
    if env.observation == "pixels":
        check_side(env.image_size)
    if run.replay.capacity < env.decisions:
        raise UserError(
            f"replay.capacity {run.replay.capacity} is smaller than one episode of "
            f"{env.decisions} decisions (env.episode_length); make it at least that"
        )
    if run.replay.min_length > env.decisions:
        raise UserError(
            f"replay.min_length {run.replay.min_length} is longer than any episode "
            f"({env.decisions} decisions, env.episode_length), so nothing would be kept"
        )
    if run.replay.pad and run.objective.discount_head:
        raise UserError(
            "replay.pad lets episodes go on that have ended, but objective.discount_head learns "
            "where they end; set one of them to false"
        )
    if run.replay.pad and run.update.length > env.decisions:
        raise UserError(
            f"replay.pad makes episodes {run.update.length} decisions long (update.length), but "
            f"none has more than {env.decisions} (env.episode_length); take shorter sequences"
        )
    together = budget.parallel_envs * env.action_repeat
    if budget.env_steps_per_task % together:
        low = budget.env_steps_per_task // together * together
        near = " or ".join(str(n) for n in (low, low + together) if n)
        of = f", each decision {env.action_repeat} steps long" if env.action_repeat > 1 else ""
        raise UserError(
            f"env_steps_per_task {budget.env_steps_per_task} is not a multiple of {together}, one "
            f"decision of {budget.parallel_envs} parallel episodes{of}; take {near}"
        )
    if run.update.prefill >= budget.steps_of(0):
        raise UserError(
            f"update.prefill {run.update.prefill} random steps leave nothing of the first task's "
            f"{budget.steps_of(0)}; take fewer, or raise env_steps_per_task"
        )
    if run.objective.representation not in objectives.KNOWN:
        raise unknown("objective.representation", run.objective.representation, objectives.KNOWN)
    objectives.KNOWN[run.objective.representation].check(run)
    if run.latent.posterior == "embedding" and run.latent.kind != "gaussian":
        raise UserError(
            f"latent.posterior 'embedding' borrows the spread of the prior, which latent.kind "
            f"'{run.latent.kind}' has not; use latent.kind 'gaussian', or latent.posterior 'joint'"
        )
    sequences = run.behaviour.sequences or run.update.batch
    if sequences > run.update.batch:
        raise UserError(
            f"behaviour.sequences {sequences} is more than those of a batch (update.batch "
            f"{run.update.batch}); take at most that, or 0 for all"
        )
    if run.behaviour.starts > sequences * run.update.length:
        raise UserError(
            f"behaviour.starts {run.behaviour.starts} is more than the states of a batch "
            f"({sequences} x {run.update.length}); take at most that, or 0 for all"
        )
    if run.explore.bonus not in exploration.KNOWN:
        raise unknown("explore.bonus", run.explore.bonus, exploration.KNOWN)
    explores = exploration.KNOWN[run.explore.bonus]
    explores.check(run)
    if run.replay.sampling == "uncertainty" and not explores.measures_uncertainty:
        raise UserError(
            "replay.sampling 'uncertainty' asks the ensemble of plan2explore how much it "
            f"disagrees, but explore.bonus is '{run.explore.bonus}'; set it to plan2explore"
        )
    meta.check(run)


def cut(run: DreamerRun, index: int) -> DreamerRun:
    """Returns the run from a task on, each task as long as in the whole sequence."""
    lengths = run.budget.lengths
    kept = lengths[min(index, len(lengths) - 1) :]
    return config.merge(run, {"tasks": run.tasks[index:], "budget": {"lengths": kept}})


def build(run: DreamerRun, domain: Domain, streams: Streams, device: torch.device) -> DreamerAgent:
    """Returns the agent of a run."""
    return DreamerAgent(run, domain.obs_space, domain.actions, streams, device)


def for_acting(run: DreamerRun) -> DreamerRun:
    """Returns the run with a replay of one episode."""
    return config.merge(run, {"replay": {"capacity": run.env.decisions}})


FAMILY = Family(
    config=DreamerRun,
    presets=PRESETS,
    methods=METHODS,
    about=ABOUT,
    sizes=SIZES,
    method="continual-dreamer",
    check=check,
    cut=cut,
    build=build,
    for_acting=for_acting,
    least_bytes=least_bytes,
    parts=parts.parts,
    foreign=meta.foreign,
    takes=("transfer", "meta"),
    begins=meta.begins,
)
