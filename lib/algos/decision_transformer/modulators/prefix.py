"""Prefix tuning: keys and values that every layer looks at besides, one set per task."""

from dataclasses import dataclass

from lib.algos.decision_transformer.modulators.prompted import Prompted
from lib.algos.decision_transformer.prompts import WHERE, PromptConfig


@dataclass(frozen=True)
class Settings(PromptConfig):
    """As of all learned vectors."""


class Prefix(Prompted):
    """Trains such vectors."""

    Settings = Settings
    kind = "prefix"
    acts = WHERE[kind]


MODULATOR = Prefix
