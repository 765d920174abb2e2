"""The updates of S agents at once: which losses are minimised, in which order, with what data.

Everything lives in stacked tensors that are written in place, so one update is a fixed sequence
of operations that a CUDA graph can record. `lib.algos.tdmpc.variants` names what differs between them.

Shapes: S seeds lead; H steps of a window, B windows, L observation, A action, D dreams.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lib.algos.tdmpc.pieces import Pieces, review_rows
from lib.algos.tdmpc.settings import TdmpcRun
from lib.algos.tdmpc.variants import Variant, layout
from lib.core.noise import NoiseBuffers
from lib.engine.optim import Adam
from lib.engine.running_means import observation
from lib.engine.seeds import named, stack_as_views
from lib.replay.buffer import Windows


class _Role:
    """One role's stacked tensors: heads, their optimisers, replay."""

    def __init__(self, actors: Sequence[Any]):
        self.heads: dict[str, Tensor] = stack_as_views(
            [dict(a.heads.named_parameters()) for a in actors]
        )
        self.storage = stack_as_views([a.buffer.storage for a in actors])
        self.model = named(heads=self.only("reward_net.", "q."))
        self.beside_model = named(heads=self.only("policy_net.", "target_q."))
        self.policy = named(heads=self.only("policy_net."))
        self.beside_policy = named(heads=self.only("reward_net.", "q.", "target_q."))
        self.online = [v for k, v in self.heads.items() if k.startswith("q.")]
        self.target = [v for k, v in self.heads.items() if k.startswith("target_q.")]
        self.heads_adam = Adam.joined([a.heads_adam for a in actors], self.model.values())
        self.policy_adam = Adam.joined([a.policy_adam for a in actors], self.policy.values())

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
        self.cfg: TdmpcRun = first.cfg
        self.generators = [agent.streams.update for agent in agents]
        self.draws: dict[Variant, NoiseBuffers] = {}
        self.sums: dict[str, Tensor] = {}
        self.dynamics = stack_as_views([dict(a.dynamics.named_parameters()) for a in agents])
        self.dynamics_adam = Adam.joined([a.dynamics_adam for a in agents], self.dynamics.values())
        self.kept = stack_as_views([a.retention.live() for a in agents])
        generators = [a.retention.vae_adam for a in agents]
        self.vae_adam = Adam.joined(generators, self.kept["vae"].values())
        self.threshold = stack_as_views([a.threshold for a in agents])
        self.next_threshold = stack_as_views([a.next_threshold for a in agents])
        self.roles = {r: _Role([a.actor(r) for a in agents]) for r in first.roles}
        now, before = named(dynamics=self.dynamics), {}
        if "old_dynamics" in self.kept:
            before = named(old_dynamics=self.kept["old_dynamics"], old_vae=self.kept["old_vae"])
        self.now, self.before = now, before

    # --- random numbers ----------------------------------------------------------------------

    def noise(self, variant: Variant) -> dict[str, Tensor]:
        """Fresh random numbers, at the same place for the same variant."""
        if variant not in self.draws:
            device = self.threshold.device
            wanted = layout(self.agents[0], variant)
            self.draws[variant] = NoiseBuffers(wanted, len(self.agents), device)
        return self.draws[variant].refill(self.generators)

    # --- one update --------------------------------------------------------------------------

    def update(self, variant: Variant, noise: dict[str, Tensor]) -> None:
        """One update of every agent, in place."""
        cfg, horizon = self.cfg, self.agents[0].horizon
        batch, (mine, rest) = cfg.learning.batch, review_rows(cfg)
        learner = self.roles["learner"].storage
        own = self.pieces.draw(learner, noise["own"], batch, horizon)
        rehearsal = self._rehearsal(noise) if variant.rehearses else {}
        guard = rehearsal if cfg.rehearsal.combine == "joint" else {}
        if cfg.method.ewc and self.kept["anchors"]:
            guard = guard | {"anchors": self.kept["anchors"], "fisher": self.kept["fisher"]}
        if "reviewer" not in self.roles:
            pairs = self._train("learner", [own], variant, noise, guard)
        else:
            self._train("learner", [own], variant, noise)
            storage = self.roles["reviewer"].storage
            windows = [self.pieces.draw(storage, noise["mine"], mine, horizon)]
            if "theirs" in noise:
                windows.append(self.pieces.draw(learner, noise["theirs"], rest, horizon))
            elif rest:
                windows.append(own)
            guard = guard | {"threshold": self.threshold}
            pairs = self._train("reviewer", windows, variant, noise, guard)
        if self.agents[0].retention.dreams:
            self._train_vae(pairs, noise)
        if rehearsal and cfg.rehearsal.combine == "separate":
            found, _, loss = self.pieces.rehearse(self.now, self.before, rehearsal)
            self.dynamics_adam.apply(found.values())  # a step of its own, unclipped
            self._log("rehearsal", {"loss": loss})

    def _train(
        self,
        role: str,
        windows: list[Windows],
        variant: Variant,
        noise: dict[str, Tensor],
        guard: dict[str, Any] | None = None,
    ) -> Tensor:
        """One model, policy and target step of a role; returns (state, action) rows seen.

        Args:
            windows: the role's own first.
            guard: what else the dynamics' loss takes; None leaves the dynamics alone.
        """
        own, cfg, trains = self.roles[role], self.cfg.learning, guard is not None
        trained, fixed = own.model, own.beside_model
        if trains:
            trained = {**trained, **self.now}
            fixed = {**fixed, **self.before} if len(guard) else fixed
        else:
            fixed = {**fixed, **self.now}
        data = {"windows": windows, "noise": noise[f"{role}/next"], **(guard or {})}
        found, norm, kept = self.pieces.model[role, trains](trained, fixed, data)
        own.heads_adam.apply(v for k, v in found.items() if k.startswith("heads."))
        if trains:
            self.dynamics_adam.apply(v for k, v in found.items() if k.startswith("dynamics."))
            decay = self.cfg.reviewer.threshold_decay
            self.next_threshold.lerp_(kept["parts"]["score"], 1 - decay)
        rows = kept["priority"].shape[1]
        own.storage.mass.flatten(1).scatter_(
            1, windows[0].index[:, :rows], kept["priority"].pow(cfg.priority_alpha)
        )
        data = {"latents": kept["latents"], "noise": noise[f"{role}/policy"]}
        found, _, loss = self.pieces.policy(own.policy, own.beside_policy, data)
        own.policy_adam.apply(found.values())
        if variant.follows:
            torch._foreach_lerp_(own.target, own.online, cfg.ema)
        self._log(f"{role}_update", {**kept["parts"], "grad_norm": norm, "policy": loss})
        if "rehearsal" in kept:
            self._log("rehearsal", {"loss": kept["rehearsal"]})
        return kept["pairs"]

    def _rehearsal(self, noise: dict[str, Tensor]) -> dict[str, Any]:
        """What a rehearsal takes: codes to dream from, or stored transitions and which of them."""
        data = {"rehearsal": noise["rehearsal"]}
        stored = self.cfg.method.rehearse == "stored"
        return data | ({"stored": self.kept["stored"]} if stored else {})

    def _train_vae(self, pairs: Tensor, noise: dict[str, Tensor]) -> None:
        """A step of the generator on pairs just drawn and on its own dreams of before."""
        data, old = {"pairs": pairs, "noise": noise["vae/noise"]}, {}
        if "vae/dreams" in noise:
            data["dreams"], old = noise["vae/dreams"], self.before
        found, _, parts = self.pieces.vae(named(vae=self.kept["vae"]), old, data)
        self.vae_adam.apply(found.values())
        self._log("vae", parts)

    def _log(self, group: str, values: dict[str, Tensor]) -> None:
        """Adds one observation of scalars (S,) to every agent's running_means."""
        if group not in self.sums:
            device = self.threshold.device
            self.sums[group] = stack_as_views(
                [a.running_means.group(group, values, device) for a in self.agents]
            )
        self.sums[group].add_(observation(values))
