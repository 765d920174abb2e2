"""Meta-model transfer: parts of other runs stay as they are while a new world model learns.

1. A run over all sources learns an encoder and a decoder: the universal feature space.
2. For each source a run with that encoder, which is fixed (`meta.autoencoder`), learns a reward.
3. The target's run has the same encoder, and a reward head that reads what the fixed heads of the
   sources say of its states (`meta.rewards`, see `reward_heads`).

All three are runs of one trainer that differ in their settings. What is fixed is in no optimiser,
and in every checkpoint: the files that it came from are read once, before the first task.

A state means something else in every run, as each learns a recurrent model of its own, even on one
encoder: `meta.init_rssm` begins with that of the first run, so that states mean nearly the same.

Source: Sasso, Sabatelli and Wiering (TMLR 2023, arXiv 2205.14410); `init_rssm` is ours.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from lib.algos.api import Foreign, Moved
from lib.algos.dreamer import parameter_transfer, parts
from lib.algos.dreamer.parameter_transfer import Rule
from lib.algos.dreamer.run_settings import DreamerRun
from lib.core.errors import UserError

if TYPE_CHECKING:
    from lib.algos.dreamer.agent import DreamerAgent

SOURCES = "reward_head.sources."  # where heads of other runs are in a world model
SEED = "{seed}"  # in a path: the seed of the run that asks


def fixed_parts(run: DreamerRun) -> tuple[str, ...]:
    """Returns with what the names of a world model's parameters begin that never learn."""
    meta = run.meta
    fixed = {
        "encoder.": bool(meta.autoencoder),
        "objective.decoder.": meta.freeze_decoder,
        SOURCES: bool(meta.rewards),
    }
    return tuple(name for name, never in fixed.items() if never)


def check(run: DreamerRun) -> None:
    """Raises UserError where the section `meta` says what cannot be."""
    meta, aim = run.meta, run.objective.representation
    if not meta.autoencoder:
        for name, given in (("rewards", meta.rewards), ("freeze_decoder", meta.freeze_decoder)):
            if given:
                raise UserError(
                    f"meta.{name} builds on an encoder that other runs share; name it with "
                    "meta.autoencoder, a file of 'python -m lib export RUN --part autoencoder'"
                )
    if nameless := [i for i, path in enumerate(meta.rewards) if not path.strip()]:
        raise UserError(
            f"meta.rewards[{nameless[0]}] of {len(meta.rewards)} names no run to read; "
            "give a run folder, or a file of 'python -m lib export RUN --part reward'"
        )
    if not meta.rewards and not meta.use_sources:
        raise UserError(
            "meta.use_sources false is the control of a head that reads others; name those with "
            "meta.rewards, or leave it out"
        )
    if meta.autoencoder and aim != "reconstruction":
        raise UserError(
            f"meta.autoencoder has an encoder and a decoder, and objective.representation '{aim}' "
            "has no decoder; use 'reconstruction', or leave meta.autoencoder out"
        )
    if foreign(run) and not run.carries:
        raise UserError(
            "boundary.carry 'nothing' starts every task from nothing, so what meta names would be "
            "thrown away; use boundary.carry 'everything', or leave the section meta out"
        )


def foreign(run: DreamerRun) -> tuple[Foreign, ...]:
    """Returns what a run takes from files: see `lib.algos.api.Family.foreign`."""
    meta = run.meta
    asked = [("meta.autoencoder", "autoencoder", meta.autoencoder)]
    asked += [(f"meta.rewards[{i}]", "reward", path) for i, path in enumerate(meta.rewards)]
    asked += [("meta.init_rssm", "rssm", meta.init_rssm)]
    return tuple(
        Foreign(setting, part, path.replace(SEED, str(run.seed)), teaches=part == "reward")
        for setting, part, path in asked
        if path
    )


def begins(run: DreamerRun, load_mode: str) -> str:
    """Returns in a few words what a run takes of others: see `lib.algos.api.Family.begins`."""
    meta = run.meta
    parts_taken = parameter_transfer.in_words(run.transfer) if load_mode == "parts" else load_mode
    taken = [
        (parts_taken, load_mode),
        ("meta-model" if meta.use_sources else "meta-model, control", meta.rewards),
        ("fixed encoder", meta.autoencoder and not meta.rewards),
        ("fixed decoder", meta.freeze_decoder),
        ("recurrent model", meta.init_rssm),
    ]
    return ", ".join(words for words, is_so in taken if is_so)


def take(agent: "DreamerAgent", wanted: Foreign, tensors: Mapping[str, Tensor]) -> list[Moved]:
    """Puts a part of another run into an agent, in place: see `lib.algos.api.Transfer.take`.

    Raises:
        UserError: shapes differ, or tensors are missing.
    """
    mine = parts.named(agent.state_dict(with_replay=False))
    rules = (Rule(".*", "copy"),)
    if number := re.fullmatch(r"meta\.rewards\[(\d+)\]", wanted.setting):
        into = f"model.{SOURCES}{number[1]}."
        tensors = {
            into + name.removeprefix("model.reward_head."): tensor
            for name, tensor in tensors.items()
        }
        mine = {name: tensor for name, tensor in mine.items() if name.startswith(into)}
    else:
        mine = parts.part(mine, wanted.part)
    if wanted.part == "rssm":
        rules = parameter_transfer.rssm_rules(agent.networks.modules["model"].rssm.latent.size)
    try:
        found, rows = parameter_transfer.transfer(tensors, mine, 0.0, rules)
    except UserError as error:
        raise UserError(f"{wanted.setting} '{wanted.path}': {error}") from None
    if extra := [row.name for row in rows if row.how == "unused"]:
        raise UserError(
            f"{wanted.setting} '{wanted.path}' has '{extra[0]}', for which this run's "
            f"{wanted.part} has no place; name a run with the same networks"
        )
    agent.load_tensors(found)
    never = tuple(f"model.{name}" for name in fixed_parts(agent.cfg))
    return [row._replace(how="fixed") if row.name.startswith(never) else row for row in rows]
