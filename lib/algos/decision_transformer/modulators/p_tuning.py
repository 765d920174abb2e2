"""P-tuning v2: vectors before what every layer reads, one set per task."""

from dataclasses import dataclass

from lib.algos.decision_transformer.modulators.prompted import Prompted
from lib.algos.decision_transformer.prompts import WHERE, PromptConfig


@dataclass(frozen=True)
class Settings(PromptConfig):
    """As of all learned vectors."""


class PTuning(Prompted):
    """Trains such vectors."""

    Settings = Settings
    kind = "p_tuning"
    acts = WHERE[kind]


MODULATOR = PTuning
