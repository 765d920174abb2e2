"""Prompt tuning: vectors before the tokens of a window, one set per task."""

from dataclasses import dataclass

from lib.algos.decision_transformer.modulators.prompted import Prompted
from lib.algos.decision_transformer.prompts import WHERE, PromptConfig


@dataclass(frozen=True)
class Settings(PromptConfig):
    """As of all learned vectors."""


class Prompt(Prompted):
    """Trains such vectors."""

    Settings = Settings
    kind = "prompt"
    acts = WHERE[kind]


MODULATOR = Prompt
