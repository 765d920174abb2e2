"""Contrast: what is predicted has to be told apart from what other sequences predict.

Each record's latent must find its own prediction among those of the batch (temporal), and must stay
apart from the other latents of its time (static), against all being mapped to one point. It must
also be likely under its prediction (consistency). Nothing is drawn and there is no KL.

Source: TPC (Nguyen et al., ICML 2021, arXiv 2106.07156), weights and noise of DreamerPro's
re-implementation. `latent.posterior embedding` is theirs; what only the authors' own code has is
off by default.

Letters: T records, B sequences, V variables.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lib.algos.dreamer.latents import build_latent
from lib.algos.dreamer.objectives.api import Context, Evidence, Losses, Objective
from lib.core import representation_losses as losses
from lib.core.config import at_least
from lib.core.distributions import normal_log_prob
from lib.core.errors import UserError
from lib.core.noise import NoiseLayout, NoiseSpec

if TYPE_CHECKING:
    from lib.algos.dreamer.run_settings import DreamerRun


@dataclass(frozen=True)
class Settings:
    """These are DreamerPro's numbers for TPC."""

    noise: float = at_least(1e-6, 0.2)  # deviation added to means in both contrasts
    temporal: float = at_least(0, 1.0)  # weights
    static: float = at_least(0, 1.0)
    consistency: float = at_least(0, 0.1)
    # The consistency's weight comes up to that in steps, the first of them with the first update
    # and the others evenly over pretraining (update.pretrain). The original TPC's: 5 times 0.01.
    rises: int = at_least(0, 0)
    rise: float = at_least(0, 0.01)
    centring: float = at_least(0, 0.0)  # of the squared mean over a batch; the original TPC's 0.01
    warm_up: int = at_least(0, 1)  # first records, of which nothing is predicted


class Contrast(Objective):
    """Asks each latent to find its own prediction among those of the batch."""

    Settings = Settings

    def __init__(self, context: Context):
        super().__init__(context)
        self.settings: Settings = context.cfg.representation.contrast
        self.pretrain = context.cfg.update.pretrain
        self.latent = build_latent(context.cfg.latent)

    @classmethod
    def check(cls, run: "DreamerRun") -> None:
        """Raises UserError where latents have no mean, or nothing is there to be contrasted."""
        if run.latent.kind != "gaussian":
            raise UserError(
                f"objective.representation 'contrast' compares means, which latent.kind "
                f"'{run.latent.kind}' has not; use latent.kind 'gaussian'"
            )
        warm_up = run.representation.contrast.warm_up
        if warm_up >= run.update.length:
            raise UserError(
                f"representation.contrast.warm_up {warm_up} leaves nothing of sequences of "
                f"{run.update.length} records (update.length) to be predicted; take less"
            )
        if run.update.batch < 2:
            raise UserError(
                "objective.representation 'contrast' tells the sequences of a batch apart, and "
                f"update.batch is {run.update.batch}; take at least 2"
            )
        own = run.representation.contrast
        if (own.rises - 1) * own.rise > own.consistency:
            raise UserError(
                f"representation.contrast.rises {own.rises} times {own.rise} (rise) would begin "
                f"below 0, the weight being {own.consistency} in the end (consistency); take fewer "
                "or smaller steps"
            )

    def noise(self, records: int, rows: int) -> NoiseLayout:
        """Declares what is added to means."""
        return {"contrast": NoiseSpec("normal", (records, rows, self.latent.size))}

    def scheduled(self, updates: int) -> dict[str, float]:
        """Returns the consistency's weight, unless it is always the same."""
        own = self.settings
        if not own.rises:
            return {}
        done = own.rises
        if updates < self.pretrain:
            done = 1 + updates * own.rises // self.pretrain
        return {"consistency": own.consistency - (own.rises - done) * own.rise}

    def losses(self, evidence: Evidence) -> Losses:
        """Returns the four terms with their weights; without them in the log."""
        own, warm_up = self.settings, self.settings.warm_up
        mean, _ = self.latent.moments(evidence.observed.posterior)  # (T, B, V)
        prior = self.latent.moments(evidence.observed.prior)
        query = mean + own.noise * evidence.noise["contrast"]
        expected = tuple(part[warm_up:] for part in prior)
        static = torch.full_like(mean, own.noise)
        terms = {
            "temporal": losses.info_nce(query[warm_up:], *expected).mean(),
            "static": losses.info_nce(query, mean, static).mean(),
            "consistency": -normal_log_prob(mean[warm_up:], *expected).sum(-1).mean(),
            "centring": mean.mean((0, 1)).square().sum(),
        }
        weights = {name: getattr(own, name) for name in terms} | evidence.scheduled
        added = {name: weights[name] * value for name, value in terms.items()}
        return Losses(added, {f"{name}_term": value.detach() for name, value in terms.items()})


OBJECTIVE = Contrast
