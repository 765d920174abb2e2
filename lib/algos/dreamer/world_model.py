"""The world model joins encoder, recurrent state-space model, objective and heads in one loss.

Letters: T records, B sequences, V views of them, F features, A action size.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lib.algos.dreamer import meta, objectives, reward_heads
from lib.algos.dreamer.fast.embedded import EmbeddedRssm
from lib.algos.dreamer.fast.gru import EmbeddedGruRssm, GruRssm
from lib.algos.dreamer.fast.rssm import FastRssm
from lib.algos.dreamer.networks import Scalar, build_encoder
from lib.algos.dreamer.objectives.api import Context, Evidence
from lib.algos.dreamer.rssm import Observed, State
from lib.algos.dreamer.run_settings import DreamerRun
from lib.core import losses
from lib.core.noise import NoiseSpec
from lib.core.spaces import ObsSpace

RSSMS = {  # by `latent.posterior` and `latent.cell`
    ("joint", "normalised"): FastRssm,
    ("embedding", "normalised"): EmbeddedRssm,
    ("joint", "gru"): GruRssm,
    ("embedding", "gru"): EmbeddedGruRssm,
}


class Kept(NamedTuple):
    """What remains of a model update. Nothing carries gradients."""

    states: State  # (T*V*B, ·) posterior states, where imagination may start
    terminal: Tensor  # (T*V*B,) bool, of the same records
    last: State  # (B, ·) state after the last record, of the first view
    observed: Observed  # (T, V*B, ·), what an ensemble learns from
    action: Tensor  # (T, V*B, A) that led to each record
    parts: dict[str, Tensor]  # scalars for the log


class WorldModel(nn.Module):
    """Predicts what comes next: states, rewards, ends, and what its objective adds.

    Args:
        action_size: A.
        cfg: its sections latent, network, objective, and the discount of behaviour are read.
        generator: on the CPU, decides the first weights.
    """

    def __init__(
        self, space: ObsSpace, action_size: int, cfg: DreamerRun, generator: torch.Generator
    ):
        super().__init__()
        norm, network, aim = cfg.latent.norm, cfg.network, cfg.objective
        self.aim, self.discount = aim, cfg.behaviour.discount
        self.encoder = build_encoder(space, network, norm, generator)
        rssm = RSSMS[cfg.latent.posterior, cfg.latent.cell]
        self.rssm = rssm(action_size, self.encoder.size, cfg.latent, generator)
        features = self.rssm.features_size
        context = Context(space, features, self.encoder.size, cfg, generator)
        self.objective = objectives.KNOWN[aim.representation](context)
        self.reward_head = reward_heads.build(features, cfg, generator)
        # Where rewards may not shape the latent neither may ends: the authors drop the head then.
        ends = aim.discount_head and aim.reward_shapes
        self.discount_head = Scalar(features, network, norm, generator) if ends else None
        self.fixed = meta.fixed_parts(cfg)  # beginnings of the names of what never learns

    # --- heads -------------------------------------------------------------------------------

    def reward(self, features: Tensor) -> Tensor:
        """Returns the mean of the (transformed) reward received on entering: (..., F) to (...)."""
        return self.reward_head(features)

    def discounts(self, features: Tensor) -> Tensor:
        """Returns gamma times the chance of going on: (..., F) to (...); gamma without a head."""
        if self.discount_head is None:
            return torch.full_like(features[..., 0], self.discount)
        return torch.sigmoid(self.discount_head(features))

    def reward_target(self, reward: Tensor) -> Tensor:
        """Returns what the reward head is asked for."""
        return torch.tanh(reward) if self.aim.reward == "tanh" else reward

    # --- learning ----------------------------------------------------------------------------

    def loss_noise(self, records: int, rows: int) -> dict[str, NoiseSpec]:
        """Declares the random numbers of `loss`."""
        rows = rows * self.objective.views
        own = self.objective.noise(records, rows)
        return {**self.rssm.observe_noise(records, rows), **own}

    def loss(
        self,
        obs: Tensor,
        action: Tensor,
        reward: Tensor,
        first: Tensor,
        terminal: Tensor,
        noise: dict[str, Tensor],
        initial: State | None = None,
        average: "WorldModel | None" = None,
        scheduled: Mapping[str, Tensor | float] | None = None,
    ) -> tuple[Tensor, Kept]:
        """Returns KL, objective, reward and discount of a batch of sequences, weighted and added.

        Args:
            obs: (T, B, *shape) as stored. action: (T, B, A) that led to each record.
            reward: (T, B). first, terminal: (T, B) bool.
            noise: see `loss_noise`.
            initial: (B, ·) state before the first record; zeros if not given.
            average: the copy of this model that its objective asks for, if it does.
            scheduled: see `Objective.scheduled`.

        Returns:
            The scalar loss and what remains.
        """
        assert terminal.dtype == torch.bool, f"terminal is {terminal.dtype}, not bool"
        aim, views, rows = self.aim, self.objective.views, obs.shape[1]
        if initial is None:
            initial = self.rssm.initial(rows, like=action)
        if views > 1:
            given = (obs, action, reward, first, terminal)
            obs, action, reward, first, terminal = (torch.cat([x] * views, 1) for x in given)
            initial = State(*(torch.cat([part] * views) for part in initial))
        obs = self.objective.augment(obs, noise)
        embed = self.encoder(obs)
        observed = self.rssm.observe(embed, action, first, noise["posterior"], initial)
        features = self.rssm.features(observed.state)  # (T, B, F)

        latent = self.rssm.latent
        loss, kl = losses.balanced_kl(
            latent.kl, observed.posterior, observed.prior, aim.kl_balance, aim.free_nats
        )
        known = obs, action, embed, observed, features, noise, average
        given = Evidence(*known, scheduled or {})
        parts, told = self.objective.losses(given)
        read = features if aim.reward_shapes else features.detach()
        target = self.reward_target(reward)
        parts["reward"] = losses.half_squared_error(self.reward_head(read), target, 0).mean()
        if self.discount_head is not None:
            ahead = self.discount * (~terminal).float()
            logit = self.discount_head(read)
            parts["discount"] = losses.soft_cross_entropy(logit, ahead).mean()
        scaled = {**parts, "reward": aim.reward_scale * parts["reward"]}
        total = torch.stack([aim.kl_scale * loss, *scaled.values()]).sum()

        still = Observed(
            State(*(part.detach() for part in observed.state)),
            observed.posterior.detach(),
            observed.prior.detach(),
        )
        parts = {**parts, **told, "kl": kl}
        parts["prior_entropy"] = latent.entropy(still.prior).mean()
        parts["posterior_entropy"] = latent.entropy(still.posterior).mean()
        parts["total"] = total
        kept = Kept(
            states=State(*(part.flatten(0, 1) for part in still.state)),
            terminal=terminal.flatten(),
            last=State(*(part[-1, :rows] for part in still.state)),
            observed=still,
            action=action,
            parts={name: value.detach() for name, value in parts.items()},
        )
        return total, kept
