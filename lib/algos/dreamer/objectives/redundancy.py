"""Redundancy: states have to describe their observation's embedding, each number something else.

A projection of the state is correlated with the embedding over the batch: a number with its own
counterpart as 1, with all others as 0. The embedding takes no gradient from it, so what it knows
comes through KL and rewards. No decoder, no second view, no other sequences: it is nearly free.

Source: Barlow Twins (arXiv 2103.03230) as R2-Dreamer uses it; beyond DreamerPro's originals.

Letters: T records, B sequences, E embedding.
"""

from dataclasses import dataclass

from lib.algos.dreamer.networks import linear
from lib.algos.dreamer.objectives.api import Context, Evidence, Losses, Objective
from lib.core import representation_losses as losses
from lib.core.config import at_least


@dataclass(frozen=True)
class Settings:
    """These are R2-Dreamer's numbers."""

    weight: float = at_least(0, 0.05)  # of the loss
    others: float = at_least(0, 5e-4)  # weight of correlations between different numbers
    stop: bool = True  # the embedding takes no gradient


class Redundancy(Objective):
    """Asks a projection of the state to agree with the embedding, number by number."""

    Settings = Settings

    def __init__(self, context: Context):
        super().__init__(context)
        self.settings: Settings = context.cfg.representation.redundancy
        self.of_features = linear(context.features, context.embed, context.generator)

    def losses(self, evidence: Evidence) -> Losses:
        """Returns the weighted loss; without its weight in the log."""
        own = self.settings
        embed = evidence.embed.detach() if own.stop else evidence.embed
        stated = self.of_features(evidence.features)
        loss = losses.redundancy_loss(stated.flatten(0, 1), embed.flatten(0, 1), own.others)
        return Losses({"redundancy": own.weight * loss}, {"redundancy_term": loss.detach()})


OBJECTIVE = Redundancy
