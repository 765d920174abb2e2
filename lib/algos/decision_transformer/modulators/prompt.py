"""Prompt tuning: vectors before the tokens of a window, one set per task."""

from dataclasses import dataclass

from lib.algos.decision_transformer.modulators.prompted import Prompted
from lib.algos.decision_transformer.prompts import PromptConfig


@dataclass(frozen=True)
class Settings(PromptConfig):
    """As of all learned vectors."""


class Prompt(Prompted):
    """Trains tokens before the first layer."""

    Settings = Settings
    kind = "prompt"
    acts = "tokens before the first layer"


MODULATOR = Prompt
