"""The updates of S agents at once: which losses are minimised, in which order, with what data.

Everything lives in stacked tensors that are written in place, so one update is a fixed sequence
of operations that a CUDA graph can record. What varies between updates is named by `Variant`.

Shapes: S seeds lead; H steps of a window, B windows, L observation, A action, D dreams.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib import losses
from lib.compiling import compiled
from lib.config import RunConfig
from lib.lanes import Draw, Draws, gradients, named, on_tensors, over_lanes, stack
from lib.meter import observation
from lib.optim import Adam
from lib.replay.buffer import Windows, draw_windows
from lib.replay.stored import draw_transitions
from lib.tdmpc import update
from lib.tdmpc.model import Dynamics, Heads, policy_noise


class Variant(NamedTuple):
    """What the host decides about an update."""

    rehearses: bool
    follows: bool  # the target critics move
    draws: tuple[Draw, ...]  # how each role's windows are drawn


class Pieces:
    """The functions that an update is made of, for S lanes; built once for a whole run.

    Args:
        cfg: the run. modules: dynamics, heads and generator, for their architecture alone.
        compile: whether to hand what is differentiated to the compiler.
    """

    def __init__(self, cfg: RunConfig, modules: dict[str, Any], lanes: int, compile: bool):
        self.cfg, self.lanes, self.compile, self.modules = cfg, lanes, compile, modules
        learning = cfg.learning
        self.draw = {
            count: self._mapped(
                lambda storage, uniform, horizon, n=count: draw_windows(
                    storage, uniform, n, horizon, learning.priority_beta
                )
            )
            for count in (learning.batch, *review_rows(cfg))
        }
        self.model = {
            (role, trains): self._gradients(
                f"{role}_model", self._model_loss(role, trains), learning.grad_clip
            )
            for role in ("learner", "reviewer")
            for trains in (True, False)
        }
        self.policy = self._gradients("policy", self._policy_loss(), learning.grad_clip)
        self.vae = self._gradients("vae", self._vae_loss(), learning.grad_clip)
        self.rehearse = self._gradients("rehearsal", self._rehearsal_loss(), None)
        self.review = over_lanes(
            self._on(
                lambda now, old, *data: update.review_batch(now, old, *data, cfg=cfg.reviewer),
                now="dynamics",
                old="dynamics",
            ),
            lanes,
        )
        self.dream = over_lanes(self._on(lambda vae, code: vae.decoder(code), vae="vae"), lanes)
        self.answer = over_lanes(self._on(self._answer, old="dynamics"), lanes)
        self.recall = over_lanes(draw_transitions, lanes)

    # --- one lane's losses -----------------------------------------------------------------

    def _model_loss(self, role: str, train_dynamics: bool) -> Any:
        """Of reward, critics and (where trained) dynamics, with what protects the latter."""
        cfg = self.cfg
        rows = review_rows(cfg)[0] if role == "reviewer" else cfg.learning.batch

        def both(dynamics: Dynamics, heads: Heads, batch: Windows, noise: Tensor) -> Any:
            return update.td_loss(
                dynamics,
                heads,
                batch,
                noise,
                cfg=cfg.learning,
                policy_std=cfg.planner.min_std,
                train_dynamics=train_dynamics,
                curiosity=cfg.method.curiosity,
            )

        td = self._on(both, dynamics="dynamics", heads="heads")
        rehearsal = self._on(self._rehearsal, dynamics="dynamics")

        def loss(
            trained: dict, fixed: dict, batch: Windows, noise: Tensor, protection: dict
        ) -> tuple[Tensor, dict]:
            value, result = td({**trained, **fixed}, batch, noise)
            mine = {k: v for k, v in trained.items() if k.startswith("dynamics.")}
            parts = {}
            if "anchors" in protection:
                value = value + cfg.method.ewc * losses.ewc_penalty(
                    mine.values(), protection["anchors"], protection["fisher"]
                )
            if "rehearsal" in protection:
                rehearsed = rehearsal(mine, *protection["rehearsal"])
                value = value + cfg.rehearsal.weight * rehearsed
                parts["rehearsal"] = rehearsed.detach()
            priority = losses.td_priorities(
                result.q[:, :, :rows],
                result.target[:, :rows],
                cfg.learning.rho,
                batch.reward[:, :rows] if role == "reviewer" else None,
            )
            return value, {
                "latents": result.latents[:, :rows],
                "priority": priority,
                "parts": result.parts,
                "rehearsal": parts,
            }

        return loss

    def _policy_loss(self) -> Any:
        cfg = self.cfg
        of = self._on(
            lambda heads, latents, noise: update.policy_loss(
                heads, latents, noise, cfg=cfg.learning, std=cfg.planner.min_std
            ),
            heads="heads",
        )

        def loss(trained: dict, fixed: dict, latents: Tensor, noise: Tensor) -> Any:
            value = of({**trained, **fixed}, latents, noise)
            return value, value.detach()

        return loss

    def _vae_loss(self) -> Any:
        beta = self.cfg.vae.beta
        return self._on(
            lambda vae, pairs, noise: update.vae_loss(vae, pairs, noise, beta=beta), vae="vae"
        )

    def _rehearsal_loss(self) -> Any:
        of = self._on(self._rehearsal, dynamics="dynamics")

        def loss(trained: dict, *data: Tensor) -> tuple[Tensor, Tensor]:
            value = of(trained, *data)
            return value, value.detach()

        return loss

    def _rehearsal(self, dynamics: Dynamics, obs: Tensor, action: Tensor, target: Tensor) -> Tensor:
        return update.rehearsal_loss(dynamics, obs, action, target, self._match)

    def _answer(self, old: Dynamics, obs: Tensor, action: Tensor) -> Tensor:
        raw = old.raw(obs, action)
        return raw if self._match == "raw" else old.bound(raw)

    @property
    def _match(self) -> str:
        """Stored transitions hold observations, so only dreams can be matched before the bound."""
        cfg = self.cfg
        return "bounded" if cfg.method.rehearse == "stored" else cfg.rehearsal.match

    # --- S lanes -----------------------------------------------------------------------------

    def _on(self, fn: Any, **names: str) -> Any:
        return on_tensors(fn, **{name: self.modules[kind] for name, kind in names.items()})

    def _gradients(self, name: str, loss: Any, clip: float | None) -> Any:
        fn = gradients(loss, self.lanes, clip, pure=self.compile)
        return compiled(fn, name) if self.compile else fn

    def _mapped(self, fn: Any) -> Any:
        """Over lanes in (storage, draws), with a horizon that all share."""

        def call(storage: Any, uniform: Tensor, horizon: int) -> Any:
            return over_lanes(lambda s, u: fn(s, u, horizon), self.lanes)(storage, uniform)

        return call


class _Role:
    """One role's stacked tensors: heads, their optimisers, replay."""

    def __init__(self, actors: Sequence[Any]):
        self.heads: dict[str, Tensor] = stack([dict(a.heads.named_parameters()) for a in actors])
        self.storage = stack([a.buffer.storage for a in actors])
        self.online = [v for k, v in self.heads.items() if k.startswith("q.")]
        self.target = [v for k, v in self.heads.items() if k.startswith("target_q.")]
        self.heads_adam = Adam.joined(
            [a.heads_adam for a in actors], self.only("reward_net.", "q.").values()
        )
        self.policy_adam = Adam.joined(
            [a.policy_adam for a in actors], self.only("policy_net.").values()
        )

    def only(self, *prefixes: str) -> dict[str, Tensor]:
        """The heads' tensors of some networks."""
        return {k: v for k, v in self.heads.items() if k.startswith(prefixes)}


class Learning:
    """The updates of one task. Lives from one task boundary to the next.

    Args:
        agents: S agents in lock-step, whose tensors become views of the stacks made here.
        pieces: the functions for S lanes.
    """

    def __init__(self, agents: Sequence[Any], pieces: Pieces):
        self.agents, self.pieces, first = agents, pieces, agents[0]
        self.cfg: RunConfig = first.cfg
        self.generators = [agent.streams.update for agent in agents]
        self.draws: dict[Variant, Draws] = {}
        self.sums: dict[str, Tensor] = {}
        self.dynamics = stack([dict(a.dynamics.named_parameters()) for a in agents])
        self.dynamics_adam = Adam.joined([a.dynamics_adam for a in agents], self.dynamics.values())
        self.kept = stack([a.retention.live() for a in agents])
        self.vae_adam = Adam.joined(
            [a.retention.vae_adam for a in agents], self.kept["vae"].values()
        )
        self.threshold = stack([a.threshold for a in agents])
        self.next_threshold = stack([a.next_threshold for a in agents])
        self.roles = {r: _Role([a.actor(r) for a in agents]) for r in first.roles}

    # --- what the host decides ---------------------------------------------------------------

    def variant(self) -> Variant:
        """What the next update will be like."""
        first, cfg = self.agents[0], self.cfg.learning
        mine, rest = review_rows(self.cfg)
        draws = [first.learner.buffer.draw(cfg.batch)]
        if first.reviewer:
            draws.append(first.reviewer.buffer.draw(mine))
            if rest > cfg.batch:
                draws.append(first.learner.buffer.draw(rest))
        follows = first.updates % cfg.ema_every == 0
        return Variant(first.retention.due(first.updates), follows, tuple(draws))

    def layout(self, variant: Variant) -> dict[str, Draw]:
        """All random numbers of an update."""
        first, cfg = self.agents[0], self.cfg
        kind, size = policy_noise(first.actions), first.actions.size
        horizon, batch, code = first.horizon, cfg.learning.batch, cfg.vae.code
        mine, _ = review_rows(cfg)
        layout = dict(zip(("own", "mine", "theirs"), variant.draws, strict=False))
        rows = {"learner": (batch, batch), "reviewer": (2 * batch, mine)}
        for role in self.roles:
            seen, own = rows[role]
            layout[f"{role}/next"] = Draw(kind, (horizon, seen, size))
            layout[f"{role}/policy"] = Draw(kind, (horizon + 1, own, size))
        dreams, old = cfg.rehearsal.dreams, first.retention.old_vae is not None
        if first.retention.dreams:
            seen = rows[first.roles[-1]][0] + (dreams if old else 0)
            layout["vae/noise"] = Draw("normal", (seen, code))
            if old:
                layout["vae/dreams"] = Draw("normal", (dreams, code))
        if variant.rehearses:
            stored = cfg.method.rehearse == "stored"
            layout["rehearsal"] = (
                Draw("uniform", (dreams,)) if stored else Draw("normal", (dreams, code))
            )
        return layout

    def noise(self, variant: Variant) -> dict[str, Tensor]:
        """Fresh random numbers, at the same place for the same variant."""
        if variant not in self.draws:
            device = self.threshold.device
            self.draws[variant] = Draws(self.layout(variant), len(self.agents), device)
        return self.draws[variant].refill(self.generators)

    # --- one update --------------------------------------------------------------------------

    def update(self, variant: Variant, noise: dict[str, Tensor]) -> None:
        """One update of every agent, in place."""
        cfg, pieces = self.cfg, self.pieces
        horizon, learner = self.agents[0].horizon, self.roles["learner"]
        batch = cfg.learning.batch
        own = pieces.draw[batch](learner.storage, noise["own"], horizon)
        seen, owner = own, "learner"
        if "reviewer" in self.roles:
            self._train("learner", own, variant, noise)
            seen, owner = self._review_batch(own, noise, horizon), "reviewer"
        self._train(owner, seen, variant, noise, protection=self._protection(variant, noise))
        if self.agents[0].retention.dreams:
            self._train_vae(torch.cat((seen.obs[:, 0], seen.action[:, 0]), -1), noise)
        if variant.rehearses and cfg.rehearsal.combine == "separate":
            self._rehearse(noise)

    def _train(
        self,
        role: str,
        batch: Windows,
        variant: Variant,
        noise: dict[str, Tensor],
        protection: dict[str, Any] | None = None,
    ) -> None:
        """One model, policy and target step of a role.

        Args:
            protection: what is added to the dynamics' loss; None leaves the dynamics alone.
        """
        with_dynamics = protection is not None
        own, cfg = self.roles[role], self.cfg.learning
        heads = own.only("reward_net.", "q.")
        trained, fixed = named(heads=heads), named(heads=own.only("policy_net.", "target_q."))
        dynamics = named(dynamics=self.dynamics)
        if with_dynamics:
            trained = {**trained, **dynamics}
        else:
            fixed = {**fixed, **dynamics}
        found, norm, kept = self.pieces.model[role, with_dynamics](
            trained, fixed, batch, noise[f"{role}/next"], protection or {}
        )
        own.heads_adam.apply(v for k, v in found.items() if k.startswith("heads."))
        if with_dynamics:
            self.dynamics_adam.apply(v for k, v in found.items() if k.startswith("dynamics."))
            decay = self.cfg.reviewer.threshold_decay
            self.next_threshold.lerp_(kept["parts"]["score"], 1 - decay)
        rows = kept["priority"].shape[1]
        own.storage.mass.flatten(1).scatter_(
            1, batch.index[:, :rows], kept["priority"].pow(cfg.priority_alpha)
        )
        policy = named(heads=own.only("policy_net."))
        rest = named(heads=own.only("reward_net.", "q.", "target_q."))
        found, _, loss = self.pieces.policy(policy, rest, kept["latents"], noise[f"{role}/policy"])
        own.policy_adam.apply(found.values())
        if variant.follows:
            torch._foreach_lerp_(own.target, own.online, cfg.ema)
        self._log(f"{role}_update", {**kept["parts"], "grad_norm": norm, "policy": loss})
        if kept["rehearsal"]:
            self._log("rehearsal", {"loss": kept["rehearsal"]["rehearsal"]})

    def _review_batch(self, own: Windows, noise: dict[str, Tensor], horizon: int) -> Windows:
        """What the reviewer learns from: its own windows, then the learner's relabelled."""
        draw, (mine, rest) = self.pieces.draw, review_rows(self.cfg)
        first = draw[mine](self.roles["reviewer"].storage, noise["mine"], horizon)
        theirs = None
        if "theirs" in noise:
            theirs = draw[rest](self.roles["learner"].storage, noise["theirs"], horizon)
        elif rest:
            theirs = Windows(
                own.obs[:, :, :rest],
                own.action[:, :, :rest],
                own.reward[:, :, :rest],
                own.weight[:, :rest],
                own.index[:, :rest],
            )
        models = named(now=self.dynamics, old=self.kept["old_dynamics"])
        found = (first,) if theirs is None else (first, theirs)
        return self.pieces.review(models, self.threshold, *found)

    def _protection(self, variant: Variant, noise: dict[str, Tensor]) -> dict[str, Any]:
        """What is added to the dynamics' loss: anchors and importances, rehearsed pairs."""
        held: dict[str, Any] = {}
        if self.cfg.method.ewc and self.kept["anchors"]:
            held |= {"anchors": self.kept["anchors"], "fisher": self.kept["fisher"]}
        if variant.rehearses and self.cfg.rehearsal.combine == "joint":
            held["rehearsal"] = self._rehearsed(noise)
        return held

    def _rehearsed(self, noise: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Observations, actions and what to answer: dreams of old, or stored transitions."""
        if self.cfg.method.rehearse == "stored":
            return self.pieces.recall(self.kept["stored"], noise["rehearsal"])
        pairs = self.pieces.dream(named(vae=self.kept["old_vae"]), noise["rehearsal"])
        obs, action = pairs.split(self.agents[0].retention.split, -1)
        target = self.pieces.answer(named(old=self.kept["old_dynamics"]), obs, action)
        return obs, action, target

    def _rehearse(self, noise: dict[str, Tensor]) -> None:
        """An Adam step of its own for the rehearsal, unclipped."""
        found, _, loss = self.pieces.rehearse(
            named(dynamics=self.dynamics), *self._rehearsed(noise)
        )
        self.dynamics_adam.apply(found.values())
        self._log("rehearsal", {"loss": loss})

    def _train_vae(self, pairs: Tensor, noise: dict[str, Tensor]) -> None:
        """A step of the generator on pairs just drawn and on its own dreams of before."""
        if "vae/dreams" in noise:
            dreams = self.pieces.dream(named(vae=self.kept["old_vae"]), noise["vae/dreams"])
            pairs = torch.cat((pairs, dreams), 1)
        found, _, parts = self.pieces.vae(named(vae=self.kept["vae"]), pairs, noise["vae/noise"])
        self.vae_adam.apply(found.values())
        self._log("vae", parts)

    def _log(self, group: str, values: dict[str, Tensor]) -> None:
        """Adds one observation of scalars (S,) to every agent's meter."""
        if group not in self.sums:
            device = self.threshold.device
            self.sums[group] = stack([a.meter.group(group, values, device) for a in self.agents])
        self.sums[group].add_(observation(values))


def review_rows(cfg: RunConfig) -> tuple[int, int]:
    """Rows of a reviewer's update from its own replay, and from the learner's."""
    both = 2 * cfg.learning.batch
    mine = max(1, round(both * cfg.reviewer.ratio))
    return mine, both - mine
