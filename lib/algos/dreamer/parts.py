"""The networks of a Dreamer by name: how each is made, how fast it learns, where it lies in a row.

Letters: B rows.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from lib.algos.dreamer.behaviour import Actor, Critic
from lib.algos.dreamer.explore import Ensemble, episode_disagreement
from lib.algos.dreamer.latents import build_latent
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.settings import DreamerRun
from lib.algos.dreamer.world_model import WorldModel
from lib.core.spaces import ActionSpace, ObsSpace
from lib.core.trees import Tree
from lib.engine.seeds import FlatLayout, on_tensors

TASK, EXPLORER = ("actor", "critic"), ("explorer", "explorer_critic")  # an actor and its critic


class Parts:
    """World model, actor and critic; under Plan2Explore an ensemble and a second pair too.

    Args:
        cfg: the whole run.
        obs_space, actions: the world's.
    """

    def __init__(self, cfg: DreamerRun, obs_space: ObsSpace, actions: ActionSpace):
        self.cfg, self.obs_space, self.actions = cfg, obs_space, actions
        self.explores = cfg.explore.bonus == "plan2explore"
        self.pairs = (TASK, EXPLORER) if self.explores else (TASK,)
        update = cfg.update
        self.rates = {"model": update.model_lr}
        for actor, critic in self.pairs:
            self.rates |= {actor: update.actor_lr, critic: update.critic_lr}
        if self.explores:
            self.rates["ensemble"] = cfg.explore.lr
        gradient = cfg.behaviour.gradient
        if gradient == "auto":  # one-hot actions carry no useful gradient through the model
            gradient = "reinforce" if actions.discrete else "dynamics"
        self.behaviour = dataclasses.replace(cfg.behaviour, gradient=gradient)
        self.critics = tuple(critic for _, critic in self.pairs)
        self.modules = self.fresh(torch.Generator())  # lend their architecture alone
        # The rate at which an averaged copy of the world model follows it, where there is one.
        self.average: float | None = self.modules["model"].objective.average
        self.copied = (*self.critics, *(["model"] if self.average is not None else []))
        for module in self.modules.values():
            module.requires_grad_(False)
        self.flats = {
            name: FlatLayout(dict(module.named_parameters()))
            for name, module in self.modules.items()
        }

    def fresh(self, generator: torch.Generator) -> dict[str, nn.Module]:
        """New networks, on the CPU."""
        return {name: self._new(name, generator) for name in self.rates}

    def empty(self, name: str, device: torch.device | str) -> nn.Module:
        """One network to load weights into."""
        return self._new(name, torch.Generator()).to(device)

    def _new(self, name: str, generator: torch.Generator) -> nn.Module:
        cfg, network, norm = self.cfg, self.cfg.network, self.cfg.latent.norm
        features = build_latent(cfg.latent).size + cfg.latent.deter
        if name == "model":
            return WorldModel(self.obs_space, self.actions.size, cfg, generator)
        if name == "ensemble":
            sizes = (features, self.actions.size, build_latent(cfg.latent).size)
            return Ensemble(*sizes, cfg.explore.members, network, norm, generator)
        if name in self.critics:
            return Critic(features, network, norm, generator)
        return Actor(features, self.actions, network, norm, generator)

    @cached_property
    def disagreement(self) -> Callable[..., Tree]:
        """How much an ensemble disagrees about episodes, as a function of tensors and data."""
        names = ("model", "ensemble")
        return on_tensors(_disagreement, **{name: self.modules[name] for name in names})

    def initial(self, rows: int, device: torch.device | str) -> State:
        """(B, ·) the state before anything was seen."""
        sizes = (build_latent(self.cfg.latent).size, self.cfg.latent.deter)
        return State(*(torch.zeros(rows, size, device=device) for size in sizes))


def _disagreement(
    model: WorldModel,
    ensemble: Ensemble,
    obs: Tensor,
    action: Tensor,
    first: Tensor,
    noise: Tensor,
    length: Tensor,
) -> Tensor:
    """(T+1, E, ...) of whole episodes to (E,)."""
    initial = model.rssm.initial(obs.shape[1], like=action)
    observed = model.rssm.observe(model.encoder(obs), action, first, noise, initial)
    return episode_disagreement(ensemble, model.rssm.features(observed.state), action, length)
