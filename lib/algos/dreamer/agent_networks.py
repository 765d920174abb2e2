"""An agent's networks are made here by name, each with its learning rate and its layout in a row.

Letters: B sequences.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lib.algos.dreamer import dream_rehearsal
from lib.algos.dreamer.behaviour import (
    TASK,
    Actor,
    Behaviour,
    Critic,
    entropy_noise,
    imagine_noise,
    starts_noise,
)
from lib.algos.dreamer.exploration.api import Exploration
from lib.algos.dreamer.latents import build_latent
from lib.algos.dreamer.objectives.api import Objective
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.run_settings import DreamerRun
from lib.algos.dreamer.world_model import WorldModel
from lib.core.errors import UserError
from lib.core.noise import NoiseLayout
from lib.core.spaces import ActionSpace, ObsSpace
from lib.core.trees import Tree
from lib.engine.seeds import FlatLayout, on_tensors, unprefixed

FIXED = "fixed"  # the row of a world model's parameters that never learn, where it has such


class AgentNetworks:
    """Makes a world model, actor and critic of every behaviour, and what exploration adds.

    Args:
        cfg: the whole run.
        obs_space, actions: the world's.
        exploration: the run's way to explore.
    """

    def __init__(
        self, cfg: DreamerRun, obs_space: ObsSpace, actions: ActionSpace, exploration: Exploration
    ):
        self.cfg, self.obs_space, self.actions = cfg, obs_space, actions
        self.exploration = exploration
        # The last one collects.
        self.behaviours: tuple[Behaviour, ...] = (TASK,)
        if exploration.behaviour:
            self.behaviours = (TASK, exploration.behaviour)
        self.critics = tuple(behaviour.critic for behaviour in self.behaviours)
        update = cfg.update
        self.rates = {"model": update.model_lr}  # in the order in which networks are made
        for behaviour in self.behaviours:
            self.rates |= {behaviour.actor: update.actor_lr, behaviour.critic: update.critic_lr}
        if exploration.network:
            self.rates[exploration.network] = cfg.explore.lr
        gradient = cfg.behaviour.gradient
        if gradient == "auto":  # one-hot actions carry no useful gradient through the model
            gradient = "reinforce" if actions.discrete else "dynamics"
        if gradient == "reinforce" and cfg.behaviour.credit == "current":
            raise UserError(
                "behaviour.credit 'current' judges an action by a return that it changes through "
                "the dynamics, which behaviour.gradient 'reinforce' ignores; use credit 'next'"
            )
        self.behaviour_cfg = dataclasses.replace(cfg.behaviour, gradient=gradient)
        self.modules = self.fresh(torch.Generator())  # lend their architecture alone
        self.objective: Objective = self.modules["model"].objective
        # The rate at which an averaged copy of the world model follows it, where there is one.
        self.average = self.objective.average
        self.copied = (*self.critics, *(["model"] if self.average is not None else []))
        for module in self.modules.values():
            module.requires_grad_(False)
        self.flats = {
            name: FlatLayout(dict(module.named_parameters()))
            for name, module in self.modules.items()
        }
        model = dict(self.modules["model"].named_parameters())
        fixed = {name for name in model if name.startswith(self.modules["model"].fixed)}
        if fixed:
            self.flats[FIXED] = FlatLayout({name: model.pop(name) for name in sorted(fixed)})
            self.flats["model"] = FlatLayout(model)

    def fresh(self, generator: torch.Generator) -> dict[str, nn.Module]:
        """Returns new networks, on the CPU."""
        return {name: self._new(name, generator) for name in self.rates}

    def empty(self, name: str, device: torch.device | str) -> nn.Module:
        """Returns one network to load weights into."""
        return self._new(name, torch.Generator()).to(device)

    def _new(self, name: str, generator: torch.Generator) -> nn.Module:
        cfg, network, norm = self.cfg, self.cfg.network, self.cfg.latent.norm
        features = build_latent(cfg.latent).size + cfg.latent.deter
        if name == "model":
            return WorldModel(self.obs_space, self.actions.size, cfg, generator)
        if name == self.exploration.network:
            return self.exploration.build(features, self.actions, generator)
        if name in self.critics:
            return Critic(features, network, norm, generator)
        return Actor(features, self.actions, network, norm, generator)

    def rows(self, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the rows (P,) that hold a network's tensors, copied: what learns, what does not.

        Args:
            tensors: all of the network's own, by name.
        """
        names = (name, FIXED) if name == "model" and FIXED in self.flats else (name,)
        layouts = {row: self.flats[row] for row in names}
        known = {key for flat in layouts.values() for key in flat.shapes}
        if missing := known ^ tensors.keys():
            raise ValueError(f"tensors of '{name}' that are not in both: {sorted(missing)}")
        return {
            row: flat.row({key: tensors[key] for key in flat.shapes})
            for row, flat in layouts.items()
        }

    def tensors(self, name: str, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns all tensors of a network by name, as views of rows (..., P).

        Args:
            name: a network, or `slow_NAME`, an older copy whose row is called so.
            rows: by name; that of `FIXED` among them, which a copy shares.
        """
        of = name.removeprefix("slow_")
        found = self.flats[of].views(rows[name])
        if of == "model" and FIXED in self.flats:
            found |= self.flats[FIXED].views(rows[FIXED])
        return found

    def frozen(self, updates: int) -> tuple[str, ...]:
        """Returns the parameters of the objective that do not learn after so many updates."""
        until = self.objective.frozen
        return tuple(name for name, limit in until.items() if updates < limit)

    def model_alone(self, updates: int) -> bool:
        """Returns whether actors and critics wait for the model after so many updates."""
        return self.cfg.update.pretrains == "model" and updates < self.cfg.update.pretrain

    def objective_tensors(self, row: Tensor) -> dict[str, Tensor]:
        """Returns the objective's parameters, or their gradients, in a model's row (..., P)."""
        return unprefixed(self.flats["model"].views(row), "objective")

    def noise(self) -> NoiseLayout:
        """Declares all random numbers of an update of one seed."""
        cfg, model, actor = self.cfg, self.modules["model"], self.modules[TASK.actor]
        sequences = cfg.update.batch * self.objective.views
        states = cfg.update.length * sequences
        begun = cfg.update.length * (cfg.behaviour.sequences or sequences)
        rows = (cfg.behaviour.starts or begun) * len(self.behaviours)
        return {
            **model.loss_noise(cfg.update.length, cfg.update.batch),
            **starts_noise(begun, cfg.behaviour.starts),
            **imagine_noise(model.rssm, actor, cfg.behaviour.horizon, rows),
            **entropy_noise(actor, rows, cfg.behaviour),
            **dream_rehearsal.noise(
                model.rssm, actor, states, cfg.behaviour.horizon, cfg.rehearsal
            ),
        }

    @cached_property
    def uncertainty(self) -> Callable[..., Tree]:
        """How little exploration's network knows of episodes, as a function of tensors and data.

        Its data are obs (T+1, E, *shape), action, first, noise and length (E,), see `Rssm.observe`.
        """

        def of_episodes(
            model: WorldModel, network: Any, obs: Tensor, action: Tensor, *rest: Tensor
        ) -> Tensor:
            first, noise, length = rest
            initial = model.rssm.initial(obs.shape[1], like=action)
            seen = model.rssm.observe(model.encoder(obs), action, first, noise, initial)
            return self.exploration.uncertainty(network, model, seen.state, action, length)

        names = ("model", self.exploration.network)
        return on_tensors(of_episodes, **{name: self.modules[name] for name in names})

    def initial(self, rows: int, device: torch.device | str) -> State:
        """Returns the state before anything was seen, (B, ·)."""
        sizes = (build_latent(self.cfg.latent).size, self.cfg.latent.deter)
        return State(*(torch.zeros(rows, size, device=device) for size in sizes))
