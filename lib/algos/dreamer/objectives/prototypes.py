"""Prototypes: states have to predict which prototype an observation belongs to. Nothing is drawn.

Every sequence is seen twice, shifted by different parts of a pixel. An averaged encoder says where
an observation lies among the prototypes, evened out over the batch (Sinkhorn); the encoder has to
say so of the other view, and the state of its own.

Source: DreamerPro (arXiv 2110.14565) and its code. Differs: the averaged copy starts equal to the
model (there: another random network until the first update), and pictures are rounded to bytes
after the shift.

Letters: T records, B sequences of both views, N samples of one view, K prototypes, P numbers of a
projection, E embedding, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.networks import linear
from lib.algos.dreamer.objectives.api import Context, Evidence, Losses, Objective
from lib.core import representation_losses as losses
from lib.core.config import at_least
from lib.core.distributions import one_hot
from lib.core.errors import UserError
from lib.core.noise import NoiseLayout, NoiseSpec

if TYPE_CHECKING:
    from lib.algos.dreamer.run_settings import DreamerRun


@dataclass(frozen=True)
class Settings:
    """These are DreamerPro's numbers on dm_control."""

    count: int = at_least(0, 0)  # K prototypes; 0: as many as a batch has samples, 2500 of theirs
    size: int = at_least(1, 32)  # P numbers of a projection
    temperature: float = at_least(1e-6, 0.1)  # of predicted assignments
    epsilon: float = at_least(1e-6, 0.0125)  # of target assignments: smaller is harder
    iterations: int = at_least(1, 3)  # of Sinkhorn's scalings
    norm: float = at_least(0, 1.0)  # weight of projections' distance from length 1
    shift: float = at_least(0, 3.0)  # most pixels by which pictures are shifted
    warm_up: int = at_least(0, 1)  # first records of a sequence, whose states know no past
    freeze: int = at_least(0, 10_000)  # updates before prototypes learn


class Prototypes(Objective):
    """Asks embeddings and states to predict assignments to prototypes."""

    average = 0.05
    views = 2
    Settings = Settings

    def __init__(self, context: Context):
        super().__init__(context)
        own: Settings = context.cfg.representation.prototypes
        self.settings, space = own, context.space
        self.pictures = space.kind == "image" and space.draw is None
        self.of_embed = linear(context.embed, own.size, context.generator)
        self.of_features = linear(context.features, own.size, context.generator)
        count = own.count or self.samples(context.cfg)
        start = torch.randn(count, own.size, generator=context.generator)
        self.prototypes = nn.Parameter(F.normalize(start, dim=-1))

    @property
    def frozen(self) -> Mapping[str, int]:
        """Prototypes start to learn once something is to be told apart."""
        return {"prototypes": self.settings.freeze}

    @staticmethod
    def samples(run: "DreamerRun") -> int:
        """Returns how many records of a batch are assigned to prototypes: N."""
        return max(run.update.length - run.representation.prototypes.warm_up, 0) * run.update.batch

    @classmethod
    def check(cls, run: "DreamerRun") -> None:
        """Raises UserError where a batch has fewer samples than there are prototypes."""
        own, update, samples = run.representation.prototypes, run.update, cls.samples(run)
        if own.count > samples or samples < 2:
            raise UserError(
                f"representation.prototypes.count {own.count} is more than the samples of a batch, "
                f"{update.batch} sequences of {update.length - own.warm_up} records ({samples}); "
                f"an even assignment needs one for each: take at most {samples}, or raise "
                "update.batch or length"
            )

    def noise(self, records: int, rows: int) -> NoiseLayout:
        """Declares by how much each row's pictures are shifted."""
        return {"shift": NoiseSpec("uniform", (rows, 2))}

    def augment(self, obs: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """Shifts all pictures of a row alike; other observations stay as they are."""
        most = self.settings.shift
        if not self.pictures or not most:
            return obs
        shift = (2 * noise["shift"] - 1) * most  # (B, 2)
        images = obs.movedim(-1, -3).float()  # (T, B, 3, H, W)
        moved = losses.shifted(images.flatten(0, 1), shift.repeat(len(obs), 1))
        return moved.round().to(obs.dtype).view(images.shape).movedim(-3, -1)

    def losses(self, evidence: Evidence) -> Losses:
        """Returns the swapped and the temporal cross-entropy, and the weighted norm penalty.

        For the log: the penalty itself, the entropy of targets, and the share of prototypes that
        are some sample's likeliest one.
        """
        own, average = self.settings, evidence.average
        embedded = self.of_embed(evidence.embed).float()  # (T, B, P)
        stated = self.of_features(evidence.features).float()
        with torch.no_grad():
            seen = average.objective.of_embed(average.encoder(evidence.obs)).float()
            scores = self._by_view(seen)
            target = tuple(losses.sinkhorn(s, own.epsilon, own.iterations) for s in scores)
        of_embed, of_state = (
            tuple(F.log_softmax(s / own.temperature, 0) for s in self._by_view(part))
            for part in (embedded, stated)
        )
        temporal = [losses.assignment_loss(*pair) for pair in zip(of_state, target, strict=True)]
        penalty = losses.norm_penalty(embedded) + losses.norm_penalty(stated)
        added = {
            "swapped": losses.swapped_assignment_loss(of_embed, target),
            "temporal": torch.stack(temporal).mean(),
            "norm": own.norm * penalty,
        }
        both = torch.cat(target, 1)  # (K, 2 N)
        used = one_hot(both.argmax(0), len(self.prototypes)).amax(0).mean()
        told = {
            "norm_penalty": penalty.detach(),
            "assignment_entropy": torch.special.entr(both).sum(0).mean(),
            "prototypes_used": used,
        }
        return Losses(added, told)

    def _by_view(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Scores projections (T, B, P) by their direction: (K, N) of each view."""
        unit = F.normalize(projected[self.settings.warm_up :], dim=-1)
        one, two = (self.prototypes.float() @ part.flatten(0, 1).T for part in unit.chunk(2, 1))
        return one, two

    def after_update(self, tensors: dict[str, Tensor]) -> None:
        """Puts prototypes back to length 1."""
        tensors["prototypes"].copy_(F.normalize(tensors["prototypes"], dim=-1))


OBJECTIVE = Prototypes
