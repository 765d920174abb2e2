"""`FAMILY` is what `lib.algos.registry` knows of sequence models."""

import torch

from lib.algos.api import Family
from lib.algos.decision_transformer import modulators
from lib.algos.decision_transformer.agent import SequenceAgent
from lib.algos.decision_transformer.keyed import KeyedConfig
from lib.algos.decision_transformer.presets import ABOUT, METHODS, PRESETS
from lib.algos.decision_transformer.settings import SequenceRun
from lib.algos.decision_transformer.sizes import training_bytes
from lib.core import config
from lib.core.errors import UserError, unknown
from lib.core.seeding import Streams
from lib.engine import ranks
from lib.envs import worlds
from lib.envs.api import Domain


def check(run: SequenceRun, inherits: bool) -> None:
    """Raises UserError where settings that are fine alone do not fit each other."""
    env, model = run.env, run.model
    world = worlds.of(env)
    if "state" not in world.observations or env.observation != "state":
        raise UserError(
            f"env.observation '{env.observation}' of {env.domain}: sequence models here read "
            "vectors; use a world that shows 'state'"
        )
    tasks = worlds.resolve(env, run.tasks)
    if run.modulator.kind not in modulators.KNOWN:
        raise unknown("modulator.kind", run.modulator.kind, modulators.KNOWN)
    if run.pretrain.tasks > len(tasks):
        raise UserError(
            f"pretrain.tasks {run.pretrain.tasks} is more than the run's {len(tasks)}; take fewer, "
            "or name more tasks"
        )
    keeps = modulators.KNOWN[run.modulator.kind].keeps_base
    if keeps and not run.pretrain.tasks and not inherits:
        raise UserError(
            f"method '{run.method_name}' changes a trained model a little, and nothing trains one "
            "here; begin with a task of pre-training (pretrain.tasks), or start from a run's model "
            "with load_mode world-model and load_from FOLDER"
        )
    if model.width % model.heads:
        raise UserError(
            f"model.width {model.width} cannot be shared by {model.heads} heads; take a multiple "
            "of model.heads"
        )
    if env.decisions > model.steps:
        raise UserError(
            f"model.steps {model.steps} is fewer than an episode's {env.decisions} decisions "
            "(env.episode_length); make it at least that"
        )
    ranks.check_share(run.tune.batch, "tune.batch")
    if run.pretrain.tasks:
        ranks.check_share(run.pretrain.batch, "pretrain.batch")
    _check_pool(run, len(tasks) - run.pretrain.tasks)
    settings = run.modulators.hide_lora
    if settings.centroids > settings.windows:
        raise UserError(
            f"modulators.hide_lora.centroids {settings.centroids} is more than the "
            f"{settings.windows} windows that they are of; take fewer"
        )


def _check_pool(run: SequenceRun, tasks: int) -> None:
    """Raises UserError where a pool has fewer members than are asked of it.

    Args:
        tasks: of the stream.
    """
    kind = run.modulator.kind
    settings = getattr(run.modulators, kind, None)
    if not isinstance(settings, KeyedConfig):
        return
    each = settings.pool // max(1, tasks) if settings.oracle else settings.pool
    if each < settings.top:
        told = f" for each of {tasks} tasks (modulators.{kind}.oracle)" if settings.oracle else ""
        raise UserError(
            f"modulators.{kind}.pool {settings.pool} has {each} members{told}, and a window is "
            f"read with {settings.top} (modulators.{kind}.top); take a larger pool"
        )


def cut(run: SequenceRun, index: int) -> SequenceRun:
    """Returns the run from a task on, each task as long as in the whole sequence."""
    lengths = run.budget.lengths
    return config.merge(
        run,
        {
            "tasks": run.tasks[index:],
            "budget": {"lengths": lengths[min(index, len(lengths) - 1) :]},
            "pretrain": {"tasks": max(0, run.pretrain.tasks - index)},
        },
    )


def build(
    run: SequenceRun, domain: Domain, streams: Streams, device: torch.device
) -> SequenceAgent:
    """Returns the agent of a run."""
    return SequenceAgent(run, domain, streams, device)


def least_bytes(run: SequenceRun) -> int:
    """Counts the least bytes that one seed of a run takes."""
    largest = max(run.tune.batch, run.pretrain.batch)
    acting = 4 * run.budget.eval_episodes * run.model.context * run.model.tokens * run.model.width
    return training_bytes(run.model, largest) + acting


FAMILY = Family(
    config=SequenceRun,
    presets=PRESETS,
    methods=METHODS,
    about=ABOUT,
    method="dt-hide-lora",
    check=check,
    cut=cut,
    build=build,
    for_acting=lambda run: run,
    least_bytes=least_bytes,
    mixed_spaces=True,
    shared=True,
    reference="dt-lora",  # a fresh set for every task, on a model that stays as it is
)
