"""One update of S Dreamers at once: world model, ensemble, then behaviours in imagination.

Every network is a row of numbers that is written in place, and an update is a fixed sequence of
operations, so a CUDA graph can record it.

Shapes: S seeds lead; T records, B sequences, H imagined steps, N rollouts, P numbers of a network.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from lib.algos.dreamer import behaviour, explore
from lib.algos.dreamer.behaviour import Actor, Critic
from lib.algos.dreamer.explore import Ensemble
from lib.algos.dreamer.parts import EXPLORER
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.settings import DreamerRun
from lib.algos.dreamer.world_model import Kept, WorldModel
from lib.core.noise import NoiseBuffers, NoiseSpec
from lib.core.trees import Tree, leaf_map
from lib.engine.optim import FlatAdam
from lib.engine.running_means import observation
from lib.engine.seeds import gradients, named, on_tensors, stack_as_views
from lib.replay.buffer import Episodes
from lib.replay.store import Batch


class Learning:
    """The updates of a team, as long as its agents keep their tensors.

    Args:
        agents: S agents in lock-step, whose rows become those of the stacks made here.
    """

    def __init__(self, agents: Sequence[Any]):
        self.agents, first = agents, agents[0]
        self.cfg: DreamerRun = first.cfg
        self.parts, self.device = first.parts, torch.device(first.device)
        self.lanes = len(agents)
        self.adams = {
            name: FlatAdam.joined([agent.trained[name] for agent in agents])
            for name in self.parts.rates
        }
        self.slow = stack_as_views([agent.slow for agent in agents])
        self.carried: State = stack_as_views([agent.carried for agent in agents])
        self.sums: dict[str, Tensor] = {}
        self.batch = self._empty_batch()
        self.draws = NoiseBuffers(self.noise(), self.lanes, self.device)
        models = ["model"] if self.parts.average is None else ["model", "slow_model"]
        self.model_step = gradients(self._on(self._model_loss, *models), self.lanes, None)
        self.behaviour_step = gradients(self._behaviours(), self.lanes, None)
        if self.parts.explores:
            loss = self._on(self._ensemble_loss, "ensemble", "model")
            self.ensemble_step = gradients(loss, self.lanes, None)

    # --- what an update takes ----------------------------------------------------------------

    def noise(self) -> dict[str, NoiseSpec]:
        """All random numbers of an update of one seed."""
        cfg, modules = self.cfg, self.parts.modules
        model, actor = modules["model"], modules["actor"]
        states = cfg.update.length * cfg.update.batch
        rows = (cfg.behaviour.starts or states) * len(self.parts.pairs)
        return {
            **model.loss_noise(cfg.update.length, cfg.update.batch),
            **behaviour.starts_noise(states, cfg.behaviour.starts),
            **behaviour.imagine_noise(model.rssm, actor, cfg.behaviour.horizon, rows),
        }

    def _empty_batch(self) -> Batch:
        """Where the sequences of an update lie: (S, T, B, ...)."""
        first, update = self.agents[0], self.cfg.update
        lead = (self.lanes, update.length, update.batch)
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
        update = self.cfg.update
        for lane, agent in enumerate(self.agents):
            rows = agent.replay.draw(update.batch, update.length, agent.streams.replay)
            agent.replay.gather(rows, out=leaf_map(lambda part, i=lane: part[i], self.batch))
        return self.draws.refill([agent.streams.update for agent in self.agents])

    def follow(self) -> None:
        """Copies critics to their slow selves when it is time to, before an update."""
        if self.agents[0].total_updates % self.cfg.behaviour.slow_every == 0:
            for name in self.parts.critics:
                self.slow[name].copy_(self.adams[name].row)

    def views(self, name: str) -> dict[str, Tensor]:
        """A network's stacked tensors by name, (S, *shape)."""
        return self.parts.flats[name].views(self.adams[name].row)

    # --- one update --------------------------------------------------------------------------

    def update(self, noise: dict[str, Tensor]) -> None:
        """One update of every agent, in place, on what `prepare` has laid out."""
        rows = {name: adam.row for name, adam in self.adams.items()}
        average = {f"slow_{name}": self.slow[name] for name in self.slow if name == "model"}
        found, _, kept = self.model_step(
            {"model": rows["model"]}, average, self.batch, self.carried, noise
        )
        norm = self.adams["model"].apply(found["model"])
        if average:
            self.slow["model"].lerp_(rows["model"], self.parts.average)
        self._log("model", {**kept.parts, "grad_norm": norm})
        for mine, last in zip(self.carried, kept.last, strict=True):
            mine.copy_(last)
        if self.parts.explores:
            found, _, parts = self.ensemble_step(
                {"ensemble": rows["ensemble"]}, {"model": rows["model"]}, kept, self.batch.action
            )
            norm = self.adams["ensemble"].apply(found["ensemble"])
            self._log("ensemble", {**parts, "grad_norm": norm})
        pairs = [name for pair in self.parts.pairs for name in pair]
        fixed = {name: row for name, row in rows.items() if name not in pairs}
        fixed |= {f"slow_{name}": self.slow[name] for name in self.parts.critics}
        found, _, logged = self.behaviour_step(
            {name: rows[name] for name in pairs}, fixed, kept, noise
        )
        norms = {name: self.adams[name].apply(found[name]) for name in pairs}
        for (actor, critic), parts in zip(self.parts.pairs, logged, strict=True):
            about = {"actor_grad_norm": norms[actor], "critic_grad_norm": norms[critic]}
            self._log("behaviour" if actor == "actor" else "exploration", {**parts, **about})

    def _model_loss(self, model: WorldModel, *others: Any) -> tuple[Tensor, Kept]:
        """Others: the averaged copy of the model if its objective asks for one, then data."""
        *average, batch, carried, noise = others
        with self._precision():
            return model.loss(*batch, noise, carried, *average)

    def _ensemble_loss(
        self, ensemble: Ensemble, model: WorldModel, kept: Kept, action: Tensor
    ) -> tuple[Tensor, Tree]:
        with self._precision():
            return explore.observed_loss(ensemble, model.rssm, kept.observed, action)

    def _behaviours(self) -> Callable[..., tuple[Tensor, Tree]]:
        """The loss of every actor and critic, as a function of rows."""
        pairs, slow = self.parts.pairs, [f"slow_{critic}" for _, critic in self.parts.pairs]
        names = ["model", *(name for pair in pairs for name in pair), *slow]
        if self.parts.explores:
            names.append("ensemble")
        return self._on(self._behaviour_loss, *names)

    def _behaviour_loss(
        self, model: WorldModel, *others: Any
    ) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Others: actor and critic of every pair, their slow critics, the ensemble if any, data."""
        *modules, kept, noise = others
        pairs, cfg = self.parts.pairs, self.cfg
        count = len(pairs)
        actors: list[Actor] = modules[0 : 2 * count : 2]
        critics: list[Critic] = modules[1 : 2 * count : 2]
        slow: list[Critic] = modules[2 * count : 3 * count]
        settings = self.parts.behaviour
        with self._precision():
            starts = behaviour.choose_starts(
                kept.states, kept.terminal, noise, cfg.behaviour.starts, count
            )
            rollouts = behaviour.imagine(model.rssm, actors, starts, noise, settings.gradient)
            losses, logged = [], []
            for i, names in enumerate(pairs):
                mine = rollouts.share(i, count)
                still = settings.gradient != "dynamics"
                with torch.no_grad() if still else nullcontext():
                    if names == EXPLORER:
                        weights = (cfg.explore.intrinsic, cfg.explore.extrinsic)
                        reward = explore.exploration_reward(modules[-1], model, mine, *weights)
                    else:
                        reward = model.reward(mine.features[:-1])
                    discount = behaviour.rollout_discounts(model, mine)
                loss, parts = behaviour.behaviour_loss(
                    actors[i], critics[i], slow[i], mine, reward, discount, settings
                )
                losses.append(loss)
                logged.append(parts)
            return torch.stack(losses).sum(), logged

    # --- helpers -----------------------------------------------------------------------------

    def _on(self, fn: Callable[..., Tree], *names: str) -> Callable[..., Tree]:
        """A function of modules and data as one of two dictionaries of rows (P,), and data.

        Args:
            names: networks in the order in which `fn` takes them; `slow_critic` has the shape of
                `critic`.

        Returns:
            fn'(trained, fixed, *data), in which every network's row is in one of the two.
        """
        plain = {name: name.removeprefix("slow_") for name in names}
        modules = {name: self.parts.modules[plain[name]] for name in names}
        flats = {name: self.parts.flats[plain[name]] for name in names}
        call = on_tensors(fn, **modules)

        def on_rows(trained: dict[str, Tensor], fixed: dict[str, Tensor], *data: Tree) -> Tree:
            rows = {**trained, **fixed}
            return call(named(**{name: flats[name].views(rows[name]) for name in names}), *data)

        return on_rows

    def _precision(self) -> Any:
        """Half precision for matrix products, on a CUDA device where it is asked for."""
        if self.cfg.update.precision == "bf16" and self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()

    def _log(self, group: str, values: dict[str, Tensor]) -> None:
        """Adds one observation of scalars (S,) to every agent's running_means."""
        if group not in self.sums:
            running_means = [a.running_means.group(group, values, self.device) for a in self.agents]
            self.sums[group] = stack_as_views(running_means)
        self.sums[group].add_(observation(values))


@torch.no_grad()
def uncertainty(agent: Any, episodes: Episodes) -> Tensor:
    """(E,) how much an agent's ensemble disagrees about whole episodes, per step.

    Reads the agent's own rows, whatever team it is in.
    """
    parts, obs = agent.parts, episodes.obs.transpose(0, 1)  # (T+1, E, *shape)
    led = episodes.action.transpose(0, 1)
    action = torch.cat((torch.zeros_like(led[:1]), led))
    first = torch.zeros(obs.shape[:2], dtype=torch.bool, device=obs.device)
    first[0] = True
    layout = {"state": parts.modules["model"].rssm.latent.noise(*obs.shape[:2])}
    noise = NoiseBuffers(layout, 1, agent.device).refill([agent.streams.update])["state"][0]
    rows = {n: parts.flats[n].views(agent.trained[n].row) for n in ("model", "ensemble")}
    length = episodes.length.to(agent.device)
    return parts.disagreement(named(**rows), obs, action, first, noise, length)
