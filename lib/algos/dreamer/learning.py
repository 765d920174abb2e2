"""One update trains S Dreamers at once: world model, exploration, then behaviours in imagination.

Losses are those of one seed; `lib.algos.dreamer.plain` has the same update written out. Every
network is a row of numbers that is written in place, and an update is a fixed sequence of
operations, so a CUDA graph can record it.

Shapes: S seeds lead; T records, B sequences, H imagined steps, N rollouts, P numbers of a network.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from lib.algos.dreamer import behaviour, cloning, dream_rehearsal
from lib.algos.dreamer.agent_networks import FIXED
from lib.algos.dreamer.behaviour import TASK
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.run_settings import DreamerRun
from lib.algos.dreamer.world_model import Kept
from lib.core.noise import NoiseBuffers
from lib.core.trees import Tree, leaf_map
from lib.engine.optim import FlatAdam
from lib.engine.running_means import observation
from lib.engine.seeds import gradients, on_tensors, prefixed, stack_as_views
from lib.replay.buffer import Episodes
from lib.replay.store import Batch

Modules = dict[str, Any]  # networks by name


class Learning:
    """Makes the updates of a batch of seeds, as long as its agents keep their tensors.

    Args:
        agents: S agents in lock-step, whose rows become those of the stacks made here.
    """

    def __init__(self, agents: Sequence[Any]):
        self.agents, first = agents, agents[0]
        self.cfg: DreamerRun = first.cfg
        self.networks, self.device = first.networks, torch.device(first.device)
        self.seeds = len(agents)
        self.adams = {
            name: FlatAdam.joined([agent.trained[name] for agent in agents])
            for name in self.networks.rates
        }
        self.slow = stack_as_views([agent.slow for agent in agents])
        self.fixed = stack_as_views([agent.fixed for agent in agents])  # no optimiser has these
        self.carried: State = stack_as_views([agent.carried for agent in agents])
        self.sums: dict[str, Tensor] = {}
        self.batch = self._empty_batch()
        self.scheduled = {
            name: torch.zeros(self.seeds, device=self.device)
            for name in self.networks.objective.scheduled(0)
        }
        # (S, T, B) which records may be rehearsed from, and whose actions are cloned.
        self.eligible = torch.zeros_like(self.batch.first)
        self.cloned = torch.zeros_like(self.batch.first)
        self.draws = NoiseBuffers(self.networks.noise(), self.seeds, self.device)
        exploration, behaviours = self.networks.exploration, self.networks.behaviours
        average = ["slow_model"] if self.networks.average is not None else []
        self.model_step = self._step(self._model_loss, "model", *average)
        pairs = [name for each in behaviours for name in (each.actor, each.critic)]
        slow = [f"slow_{name}" for name in self.networks.critics]
        read = {name: None for each in behaviours for name in each.reads}
        self.behaviour_step = self._step(self._behaviour_loss, "model", *pairs, *slow, *read)
        self.trained_together = pairs
        if exploration.network:
            self.exploration_step = self._step(self._exploration_loss, exploration.network, "model")

    # --- what an update takes ----------------------------------------------------------------

    def _empty_batch(self) -> Batch:
        """Returns where the sequences of an update lie: (S, T, B, ...)."""
        first, update = self.agents[0], self.cfg.update
        lead = (self.seeds, update.length, update.batch)
        space, device = first.obs_space, self.device
        return Batch(
            torch.zeros(*lead, *space.shape, dtype=space.dtype, device=device),
            torch.zeros(*lead, first.actions.size, device=device),
            torch.zeros(*lead, device=device),
            torch.zeros(*lead, dtype=torch.bool, device=device),
            torch.zeros(*lead, dtype=torch.bool, device=device),
        )

    def prepare(self) -> dict[str, Tensor]:
        """Draws sequences and random numbers of the next update, each seed from its own."""
        update, made = self.cfg.update, self.agents[0].total_updates
        for name, weight in self.networks.objective.scheduled(made).items():
            self.scheduled[name].fill_(weight)
        for seed, agent in enumerate(self.agents):
            rows = agent.replay.draw(update.batch, update.length, agent.streams.replay)
            agent.replay.gather(rows, out=leaf_map(lambda part, i=seed: part[i], self.batch))
            if self.cfg.rehearsal.weight:
                tasks = agent.replay.tasks_of(rows)
                eligible = dream_rehearsal.eligible(tasks, agent.task, self.cfg.rehearsal)
                self.eligible[seed].copy_(torch.from_numpy(eligible))
            if self.cfg.cloning.weight:
                tasks, better = agent.replay.tasks_of(rows), agent.replay.better(rows)
                cloned = cloning.clonable(tasks, agent.task, better, rows.first)
                self.cloned[seed].copy_(torch.from_numpy(cloned))
        return self.draws.refill([agent.streams.update for agent in self.agents])

    def follow(self) -> None:
        """Copies critics to their slow selves where an update was the last before that."""
        if behaviour.copied_after(self.agents[0].total_updates, self.cfg.behaviour):
            for name in self.networks.critics:
                self.slow[name].copy_(self.adams[name].row)

    def views(self, name: str) -> dict[str, Tensor]:
        """Returns a network's stacked tensors by name, (S, *shape)."""
        return self.networks.tensors(name, {name: self.adams[name].row, **self.fixed})

    # --- one update --------------------------------------------------------------------------

    def update(
        self, noise: dict[str, Tensor], frozen: Sequence[str] = (), alone: bool = False
    ) -> None:
        """Makes one update of every agent, in place, on what `prepare` has laid out.

        Args:
            noise: from `prepare`.
            frozen, alone: see `AgentNetworks.frozen` and `AgentNetworks.model_alone`.
        """
        rows = {name: adam.row for name, adam in self.adams.items()}
        still = {f"slow_{name}": row for name, row in self.slow.items()} | self.fixed
        found, _, kept = self.model_step(
            {"model": rows["model"]}, still, self.batch, self.carried, noise, self.scheduled
        )
        objective, tensors = self.networks.objective, self.networks.objective_tensors
        for name in frozen:
            tensors(found["model"])[name].zero_()
        norm = self.adams["model"].apply(found["model"])
        if objective.after_update:
            objective.after_update(tensors(rows["model"]))
        self._log("model", {**kept.parts, "grad_norm": norm})
        if self.networks.average is not None:
            self.slow["model"].lerp_(rows["model"], self.networks.average)
        for mine, last in zip(self.carried, kept.last, strict=True):
            mine.copy_(last)

        if own := self.networks.exploration.network:
            found, _, parts = self.exploration_step({own: rows[own]}, {**rows, **still}, kept)
            self._log(own, {**parts, "grad_norm": self.adams[own].apply(found[own])})

        together = self.trained_together
        if alone:  # a step along nothing, which Adam counts
            for name in together:
                self.adams[name].apply(torch.zeros_like(rows[name]))
            return
        found, _, logged = self.behaviour_step(
            {name: rows[name] for name in together},
            {**rows, **still},
            kept,
            (self.eligible, self.cloned),
            noise,
        )
        norms = {name: self.adams[name].apply(found[name]) for name in together}
        for each in self.networks.behaviours:
            about = {"actor_grad_norm": norms[each.actor], "critic_grad_norm": norms[each.critic]}
            logged[each.logged] |= about
        for group, parts in logged.items():
            self._log(group, parts)

    # --- losses of one seed ------------------------------------------------------------------

    def _model_loss(
        self,
        modules: Modules,
        batch: Batch,
        carried: State,
        noise: dict[str, Tensor],
        scheduled: dict[str, Tensor],
    ) -> tuple[Tensor, Kept]:
        average = modules.get("slow_model")
        return modules["model"].loss(*batch, noise, carried, average, scheduled)

    def _exploration_loss(self, modules: Modules, kept: Kept) -> tuple[Tensor, dict[str, Tensor]]:
        way = self.networks.exploration
        return way.loss(modules[way.network], modules["model"], kept.observed, kept.action)

    def _behaviour_loss(
        self,
        modules: Modules,
        kept: Kept,
        practised: tuple[Tensor, Tensor],
        noise: dict[str, Tensor],
    ) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
        """Lets all behaviours imagine in one batch; each learns from its share of rollouts.

        The task's actor then practises earlier tasks, where it is asked to.

        Args:
            practised: (T, B) bool each, which records it may rehearse from, and whose it clones.
        """
        views = modules["model"].objective.views
        eligible, cloned = (torch.cat([part] * views, 1) for part in practised)  # (T, V B)
        model, behaviours = modules["model"], self.networks.behaviours
        cfg, count = self.networks.behaviour_cfg, len(behaviours)
        records = self.cfg.update.length
        begin = behaviour.of_sequences(kept.states, kept.terminal, records, cfg.sequences)
        starts = behaviour.choose_starts(*begin, noise, cfg.starts, count)
        actors = [modules[each.actor] for each in behaviours]
        rollouts = behaviour.imagine(model.rssm, actors, starts, noise, cfg.gradient)
        samples = noise["entropy"].chunk(count, 2) if "entropy" in noise else [None] * count
        losses, logged = [], {}
        for i, each in enumerate(behaviours):
            mine = rollouts.share(i, count)
            with nullcontext() if cfg.gradient == "dynamics" else torch.no_grad():
                reward = each.reward(model, mine, *(modules[name] for name in each.reads))
                discount = behaviour.rollout_discounts(model, mine)
            critics = modules[each.critic], modules[f"slow_{each.critic}"]
            loss, parts = behaviour.behaviour_loss(
                actors[i], *critics, mine, reward, discount, cfg, samples[i]
            )
            losses.append(loss)
            logged[each.logged] = parts
        if (rehearsal := self.cfg.rehearsal).weight:
            actor, slow = modules[TASK.actor], modules[f"slow_{TASK.critic}"]
            replayed = kept.states, kept.terminal, eligible.flatten()
            dreams = dream_rehearsal.dream(model, actor, *replayed, noise, rehearsal)
            loss, logged["rehearsal"] = dream_rehearsal.rehearsal_loss(
                model, actor, slow, *dreams, cfg, rehearsal
            )
            losses.append(loss)
        if self.cfg.cloning.weight:
            features = model.rssm.features(kept.observed.state)
            loss, logged["cloning"] = cloning.cloning_loss(
                modules[TASK.actor], features, kept.action, cloned, self.cfg.cloning
            )
            losses.append(loss)
        return torch.stack(losses).sum(), logged

    # --- helpers -----------------------------------------------------------------------------

    def _step(self, loss: Callable[..., tuple[Tensor, Tree]], *names: str) -> Callable[..., Any]:
        """Returns the gradient of a loss of one seed as a function of S seeds' rows.

        Args:
            loss: takes networks by name, then data.
            names: of those networks; `slow_critic` has the shape of `critic`.

        Returns:
            (trained rows, fixed rows, *data) to what `gradients` gives; every row is (S, P), and
            fixed ones that are not named, or are trained, are ignored.
        """

        def by_name(*args: Any) -> tuple[Tensor, Tree]:
            with self._precision():
                return loss(dict(zip(names, args, strict=False)), *args[len(names) :])

        modules = {name: self.networks.modules[name.removeprefix("slow_")] for name in names}
        call = on_tensors(by_name, **modules)

        def on_rows(trained: dict[str, Tensor], fixed: dict[str, Tensor], *data: Tree) -> Tree:
            rows = {**fixed, **trained}
            return call(
                prefixed(**{name: self.networks.tensors(name, rows) for name in names}), *data
            )

        gradient = gradients(on_rows, self.seeds, None)

        def step(trained: dict[str, Tensor], fixed: dict[str, Tensor], *data: Tree) -> Any:
            needed = {n: r for n, r in fixed.items() if n in (*names, FIXED) and n not in trained}
            return gradient(trained, needed, *data)

        return step

    def _precision(self) -> Any:
        """Computes matrix products in half precision, on a CUDA device where it is asked for."""
        if self.cfg.update.precision == "bf16" and self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()

    def _log(self, group: str, values: dict[str, Tensor]) -> None:
        """Adds one observation of scalars (S,) to every agent's running means."""
        if group not in self.sums:
            running_means = [a.running_means.group(group, values, self.device) for a in self.agents]
            self.sums[group] = stack_as_views(running_means)
        self.sums[group].add_(observation(values))


@torch.no_grad()
def uncertainty(agent: Any, episodes: Episodes) -> Tensor:
    """Returns how little an agent's exploration knows of whole episodes, per step: (E,).

    It reads the agent's own rows, whatever batch of seeds it is in.
    """
    networks, obs = agent.networks, episodes.obs.transpose(0, 1)  # (T+1, E, *shape)
    led = episodes.action.transpose(0, 1)
    action = torch.cat((torch.zeros_like(led[:1]), led))
    first = torch.zeros(obs.shape[:2], dtype=torch.bool, device=obs.device)
    first[0] = True
    layout = {"state": networks.modules["model"].rssm.latent.noise(*obs.shape[:2])}
    noise = NoiseBuffers(layout, 1, agent.device).refill([agent.streams.update])["state"][0]
    names = ("model", networks.exploration.network)
    rows = {name: adam.row for name, adam in agent.trained.items()} | agent.fixed
    length = episodes.length.to(agent.device)
    tensors = prefixed(**{name: networks.tensors(name, rows) for name in names})
    return networks.uncertainty(tensors, obs, action, first, noise, length)
