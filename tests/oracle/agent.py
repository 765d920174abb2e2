"""The plain path: what `lib.algos.tdmpc` computes in batches, graphs and stacks, done one by one.

Tests compare the fast path with it, benchmarks measure the fast path against it. It consumes the
same random numbers in the same order; everything else is written out anew, so that a mistake in
either shows.

Shapes: E environments, H steps of a window, B windows, L observation, A action.
"""

import torch
from torch import Tensor

from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.model import Heads
from lib.algos.tdmpc.planner import PlanNoise, Trace, ramp, scheduled_horizon
from lib.algos.tdmpc.variants import Variant, layout, variant
from lib.core.noise import draw_noise
from lib.engine.optim import Adam
from lib.replay.buffer import Windows, join
from tests.oracle import networks
from tests.oracle import update as plain
from tests.oracle.plan import Search, of_state


class PlainAgent(ContinualAgent):
    """A ContinualAgent that plans for one state at a time and learns one time step at a time."""

    _settled = -1  # tensor_version that the optimisers belong to

    # --- acting --------------------------------------------------------------------------

    @torch.no_grad()
    def act(
        self,
        obs: Tensor,
        memory: Tensor | None,
        *,
        role: str = "learner",
        explore: bool = True,
        generator: torch.Generator | None = None,
        heads: Heads | None = None,
        trace: Trace | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """See `ContinualAgent.act`; `trace` sees one state's search after the other's."""
        cfg, own, states = self.cfg.planner, self.actor(role), len(obs)
        generator = generator or self.streams.act
        if explore and own.counts:
            own.counts.visit(obs)
        if explore and self.acts_at_random(role):
            return self.actions.random(states, generator, obs.device), None
        horizon = scheduled_horizon(self.horizon, cfg.horizon_ramp, self.steps)
        noise = PlanNoise.draw(states, horizon, self.actions, cfg, generator)
        search = Search(
            self.dynamics,
            heads or own.heads,
            cfg,
            self.cfg.learning.discount,
            bonus=(lambda z: own.counts.rate(own.counts.live(), z)) if own.counts else None,
            std_floor=ramp(0.5, cfg.min_std, cfg.std_ramp, self.steps),
            explore=explore,
            trace=trace,
        )
        action = torch.zeros(states, self.actions.size, device=obs.device)
        kept = torch.zeros(states, self.horizon, self.actions.size, device=obs.device)
        for e in range(states):
            previous = None if memory is None else memory[e]
            action[e], kept[e, :horizon] = search.plan(obs[e], of_state(noise, e, states), previous)
        return action, kept

    # --- learning ------------------------------------------------------------------------

    def update(self, n: int) -> None:
        """Runs n updates."""
        self._restack()
        done = min(1.0, self.steps / self.cfg.decisions_per_task)
        scale = 1.0 - (1.0 - self.cfg.learning.lr_end) * done
        for name, (optimizer, _) in self.optimizers.items():
            rate = self.cfg.vae.lr if name == "vae" else self.cfg.learning.lr
            optimizer.param_groups[0]["lr"] = scale * rate
        for _ in range(n):
            kind = variant(self)
            self._update(kind, draw_noise(layout(self, kind), self.streams.update))
            self.updates += 1
            self.updates_due -= 1.0

    def _restack(self) -> None:
        """Takes up the optimisers of a task that has begun since."""
        if self._settled == self.tensor_version:
            return
        self._settled = self.tensor_version
        held = {"dynamics": self.dynamics_adam, "vae": self.retention.vae_adam}
        for role in self.roles:
            held[f"{role}/heads"] = self.actor(role).heads_adam
            held[f"{role}/policy"] = self.actor(role).policy_adam
        self.optimizers: dict[str, tuple[torch.optim.Adam, Adam]] = {
            name: (plain.plain_adam(adam), adam) for name, adam in held.items()
        }

    def _update(self, variant: Variant, noise: dict[str, Tensor]) -> None:
        cfg = self.cfg
        batch = plain.draw_windows(self.learner.buffer, noise["own"], cfg.learning.batch)
        rows, role = cfg.learning.batch, "learner"
        if self.reviewer:
            self._train("learner", batch, rows, variant, noise, train_dynamics=False)
            batch, rows = self._review_batch(batch, noise)
            role = "reviewer"
        self._train(role, batch, rows, variant, noise)
        if self.retention.dreams:
            self._train_vae(torch.cat((batch.obs[0], batch.action[0]), -1), noise)
        if variant.rehearses and cfg.rehearsal.combine == "separate":
            loss = self._rehearsal(noise["rehearsal"])
            plain.descend(loss, [self.optimizers["dynamics"][0]], None)
            self.running_means.add("rehearsal", {"loss": loss})

    def _train(
        self,
        role: str,
        batch: Windows,
        rows: int,
        variant: Variant,
        noise: dict[str, Tensor],
        train_dynamics: bool = True,
    ) -> None:
        """Model, priorities, policy and target of a role; its first `rows` windows are its own."""
        cfg, std, own = self.cfg.learning, self.cfg.planner.min_std, self.actor(role)
        optimizers = [self.optimizers[f"{role}/heads"][0]]
        loss, seen = plain.model_loss(
            self.dynamics,
            own.heads,
            batch,
            noise[f"{role}/next"],
            cfg,
            std,
            curiosity=self.cfg.method.curiosity,
            train_dynamics=train_dynamics,
        )
        if train_dynamics:
            optimizers.append(self.optimizers["dynamics"][0])
            loss = self._protected(loss, variant, noise)
        norm = plain.descend(loss, optimizers, cfg.grad_clip)
        if train_dynamics:
            decay = self.cfg.reviewer.threshold_decay
            self.next_threshold.copy_(decay * self.next_threshold + (1 - decay) * seen.score)
        reward = batch.reward[:, :rows] if role == "reviewer" else None
        own.buffer.set_priorities(batch.index[:rows], plain.priorities(seen, rows, cfg, reward))
        latents = [z[:rows] for z in seen.latents]
        own.heads.q.requires_grad_(False)
        told = plain.policy_loss(own.heads, latents, noise[f"{role}/policy"], cfg.rho, std)
        plain.descend(told, [self.optimizers[f"{role}/policy"][0]], cfg.grad_clip)
        own.heads.q.requires_grad_(True)
        if self.updates % cfg.ema_every == 0:
            pairs = zip(own.heads.target_q.parameters(), own.heads.q.parameters(), strict=True)
            for target, online in pairs:
                target.data.lerp_(online.data, cfg.ema)
        self.running_means.add(f"{role}_update", {**seen.parts, "grad_norm": norm, "policy": told})

    def _review_batch(self, own: Windows, noise: dict[str, Tensor]) -> tuple[Windows, int]:
        """The reviewer's windows and then the learner's, and how many are the reviewer's."""
        cfg, both = self.cfg.reviewer, 2 * self.cfg.learning.batch
        rows = max(1, round(cfg.ratio * both))
        models = self.dynamics, self.retention.old_dynamics
        mine = plain.draw_windows(self.reviewer.buffer, noise["mine"], rows)
        if cfg.relabel:
            mine = plain.relabelled(mine, *models, threshold=self.threshold, cfg=cfg)
        if rows == both:
            return mine, rows
        if "theirs" in noise:
            own = plain.draw_windows(self.learner.buffer, noise["theirs"], both - rows)
        theirs = own.rows(both - rows)
        return join(
            mine, plain.relabelled(theirs, *models, threshold=self.threshold, cfg=cfg)
        ), rows

    def _review_parts(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> tuple[Tensor, Tensor]:
        models = self.dynamics, self.retention.old_dynamics
        return plain.review_parts(*models, obs, action, next_obs, self.threshold, self.cfg.reviewer)

    def _protected(self, loss: Tensor, variant: Variant, noise: dict[str, Tensor]) -> Tensor:
        """The model's loss with what keeps earlier tasks alive in the dynamics."""
        kept = self.retention.consolidation
        if self.cfg.method.ewc and kept.anchors:
            penalty = plain.ewc_penalty(self.dynamics, kept.anchors, kept.fisher)
            loss = loss + self.cfg.method.ewc * penalty
        if variant.rehearses and self.cfg.rehearsal.combine == "joint":
            rehearsal = self._rehearsal(noise["rehearsal"])
            self.running_means.add("rehearsal", {"loss": rehearsal})
            loss = loss + self.cfg.rehearsal.weight * rehearsal
        return loss

    def _rehearsal(self, noise: Tensor) -> Tensor:
        """Mean squared difference from old answers to dreams, or from stored transitions, ()."""
        kept, bounded = self.retention, self.cfg.rehearsal.match == "bounded"
        if self.cfg.method.rehearse == "stored":
            count = len(kept.stored)
            at = (noise.double() * count).floor().long().clamp_max(count - 1)
            obs, action, target = (part[at] for part in kept.stored.storage)
            bounded = True
        else:
            with torch.no_grad():
                pairs = kept.old_vae.decoder(noise)
                obs, action = pairs[:, : self.obs_dim], pairs[:, self.obs_dim :]
                answer = networks.next_latent if bounded else networks.raw
                target = answer(kept.old_dynamics, obs, action)
        answer = networks.next_latent if bounded else networks.raw
        return ((answer(self.dynamics, obs, action) - target) ** 2).mean()

    def _train_vae(self, pairs: Tensor, noise: dict[str, Tensor]) -> None:
        """A step of the generator on what was just seen and on its own dreams of before."""
        if self.retention.old_vae is not None:
            with torch.no_grad():
                dreams = self.retention.old_vae.decoder(noise["vae/dreams"])
            pairs = torch.cat((pairs, dreams))
        loss, parts = plain.vae_loss(
            self.retention.vae, pairs, noise["vae/noise"], self.cfg.vae.beta
        )
        plain.descend(loss, [self.optimizers["vae"][0]], self.cfg.learning.grad_clip)
        self.running_means.add("vae", parts)

    # --- saving --------------------------------------------------------------------------

    def state_dict(self, with_replay: bool = True) -> dict:
        """See `ContinualAgent.state_dict`."""
        if self._settled == self.tensor_version:
            for optimizer, adam in self.optimizers.values():
                plain.keep_counts(optimizer, adam)
        return super().state_dict(with_replay)
