"""Families of algorithms by name. A row is imported when its family is first asked for.

A new family is a folder with a `Family` in it, and one row here.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch

from lib.algos.api import Agent, Family
from lib.core import config
from lib.core.config import RunConfig
from lib.core.errors import unknown
from lib.core.seeding import Streams
from lib.envs import worlds
from lib.envs.api import Domain

FAMILIES: dict[str, str | Family] = {
    # To the module whose FAMILY it is, or the family itself.
    "tdmpc": "lib.algos.tdmpc.family",
    "dreamer": "lib.algos.dreamer.family",
    "decision_transformer": "lib.algos.decision_transformer.family",
}


def family(name: str) -> Family:
    """The family of a name.

    Raises:
        UserError: there is none.
    """
    if name not in FAMILIES:
        raise unknown("family", name, FAMILIES)
    row = FAMILIES[name]
    return import_module(row).FAMILY if isinstance(row, str) else row


def of(run: RunConfig) -> Family:
    """The family of a run."""
    return family(run.family)


def presets() -> dict[str, str]:
    """Every preset, to the name of the family that has it."""
    return {preset: name for name in FAMILIES for preset in family(name).presets}


def of_preset(preset: str) -> Family:
    """The family that a preset belongs to.

    Raises:
        UserError: no family has it.
    """
    known = presets()
    if preset not in known:
        raise unknown("preset", preset, known)
    return family(known[preset])


def about(run: RunConfig) -> str:
    """A run's method in one line."""
    return of(run).about[run.method_name]


def from_dict(mapping: Mapping[str, Any]) -> RunConfig:
    """A complete configuration from what `config.to_dict` made of it.

    Raises:
        UserError: an unknown family or setting, a wrong type, a number out of range.
    """
    name = mapping.get("family", "tdmpc")  # the first family's early runs do not name theirs
    return config.from_dict(family(name).config, mapping)


def build_agent(run: RunConfig, domain: Domain, streams: Streams, device: torch.device) -> Agent:
    """The agent of a run, for a world that is there already."""
    return of(run).build(run, domain, streams, device)


def for_acting(run: RunConfig) -> RunConfig:
    """A run whose agent only acts and is looked at: it stores next to nothing."""
    return of(run).for_acting(run)


def build(run: RunConfig, streams: Streams, device: torch.device) -> tuple[Agent, Domain]:
    """The agent and the world that a configuration describes."""
    domain = worlds.build(run.env, run.tasks, device)
    return build_agent(run, domain, streams, device), domain
