"""P-tuning v2: vectors before what every layer reads, one set per task."""

from dataclasses import dataclass

from lib.algos.decision_transformer.modulators.prompted import Prompted
from lib.algos.decision_transformer.prompts import PromptConfig


@dataclass(frozen=True)
class Settings(PromptConfig):
    """As of all learned vectors."""


class PTuning(Prompted):
    """Trains tokens before every layer, others in each."""

    Settings = Settings
    kind = "p_tuning"
    acts = "tokens before every layer, others in each"


MODULATOR = PTuning
