"""Plan2Explore pays a second behaviour where an ensemble disagrees about the next latent.

Letters: K members, T records, B sequences, N rows, F features, A action size, Z latent size.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.behaviour import Imagined
from lib.algos.dreamer.exploration.api import Behaviour, Exploration
from lib.algos.dreamer.latents import build_latent
from lib.algos.dreamer.networks import NORM_EPS, linear
from lib.algos.dreamer.rssm import Observed, Rssm, State
from lib.algos.dreamer.run_settings import DreamerRun
from lib.algos.dreamer.settings import NetworkConfig
from lib.algos.dreamer.world_model import WorldModel
from lib.core.spaces import ActionSpace


class Ensemble(nn.Module):
    """K networks predict the next z from a state and the action that led to it.

    All members are one batched matrix product per layer.

    Source: Sekar et al. 2020, as the Continual-Dreamer code has it.
    """

    def __init__(
        self,
        features: int,
        action_size: int,
        latent_size: int,
        members: int,
        network: NetworkConfig,
        norm: str,
        generator: torch.Generator,
    ):
        super().__init__()
        widths = [features + action_size, *[network.head_width] * network.head_layers, latent_size]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self.scales, self.shifts = nn.ParameterList(), nn.ParameterList()
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            each = [linear(inputs, outputs, generator).weight.detach().T for _ in range(members)]
            self.weights.append(torch.stack(each))  # (K, in, out)
            self.biases.append(torch.zeros(members, 1, outputs))
            if norm == "layer" and i < network.head_layers:
                self.scales.append(torch.ones(members, 1, outputs))
                self.shifts.append(torch.zeros(members, 1, outputs))

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """(N, F) and (N, A), the action that led to the state, to (K, N, Z)."""
        x = torch.cat((features, action), -1)
        x = x.expand(len(self.weights[0]), *x.shape)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i:
                if len(self.scales):
                    x = F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)
                    x = x * self.scales[i - 1] + self.shifts[i - 1]
                x = F.elu(x)
            x = torch.baddbmm(bias, x, weight)
        return x.float()

    def disagreement(self, features: Tensor, action: Tensor) -> Tensor:
        """Returns the members' population standard deviation, averaged over z: (...)."""
        rows = self(features.flatten(0, -2), action.flatten(0, -2))  # (K, N, Z)
        return rows.std(0, correction=0).mean(-1).unflatten(0, features.shape[:-1])


def ensemble_loss(ensemble: Ensemble, features: Tensor, action: Tensor, z: Tensor) -> Tensor:
    """Returns the sum over members of the mean squared distance to the next z, halved: a scalar.

    Args:
        features: (T, B, F) posterior states; nothing flows back into them.
        action: (T, B, A) that led to each record.
        z: (T, B, Z) of the same records; record t + 1 is what t is asked for.
    """
    read, led = features[:-1].detach().flatten(0, 1), action[:-1].flatten(0, 1)
    error = ensemble(read, led) - z[1:].detach().flatten(0, 1)  # (K, (T-1)*B, Z)
    return 0.5 * error.square().sum(-1).mean(-1).sum()


def observed_loss(
    ensemble: Ensemble, rssm: Rssm, observed: Observed, action: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the ensemble's loss on the states of a model update, and scalars for the log."""
    features = rssm.features(observed.state)
    loss = ensemble_loss(ensemble, features, action, observed.state.z)
    return loss, {"ensemble": loss.detach()}


def exploration_reward(
    ensemble: Ensemble, model: WorldModel, imagined: Imagined, intrinsic: float, extrinsic: float
) -> Tensor:
    """Returns weighted disagreement and predicted reward of states 0..H-1: (H, N)."""
    features = imagined.features[:-1]
    curious = ensemble.disagreement(features, imagined.action_into[:-1])
    return intrinsic * curious + extrinsic * model.reward(features)


def episode_disagreement(
    ensemble: Ensemble, features: Tensor, action: Tensor, length: Tensor
) -> Tensor:
    """Returns the disagreement per step of whole episodes, for sampling by uncertainty: (E,).

    Args:
        features: (T+1, E, F) posterior states, padded after an episode's end.
        action: (T+1, E, A) that led to each record.
        length: (E,) steps; a step's disagreement is about the record that follows it.
    """
    each = ensemble.disagreement(features, action)  # (T+1, E)
    step = torch.arange(len(each), device=each.device).unsqueeze(1)
    return torch.where(step < length, each, 0.0).sum(0) / length.clamp_min(1)


class Plan2Explore(Exploration):
    """A second actor collects where the ensemble disagrees. Source: Sekar et al. 2020."""

    network = "ensemble"
    measures_uncertainty = True

    def __init__(self, cfg: DreamerRun):
        super().__init__(cfg)
        self.behaviour = Behaviour(
            "explorer", "explorer_critic", "exploration", self._reward, reads=("ensemble",)
        )

    def _reward(self, model: WorldModel, imagined: Imagined, ensemble: Ensemble) -> Tensor:
        weights = (self.cfg.explore.intrinsic, self.cfg.explore.extrinsic)
        return exploration_reward(ensemble, model, imagined, *weights)

    def build(self, features: int, actions: ActionSpace, generator: torch.Generator) -> Ensemble:
        """Returns a new ensemble."""
        cfg, latent = self.cfg, self.cfg.latent
        sizes = (features, actions.size, build_latent(latent).size)
        return Ensemble(*sizes, cfg.explore.members, cfg.network, latent.norm, generator)

    def loss(
        self, network: Ensemble, model: WorldModel, observed: Observed, action: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the ensemble's loss, see `observed_loss`."""
        return observed_loss(network, model.rssm, observed, action)

    def uncertainty(
        self, network: Ensemble, model: WorldModel, state: State, action: Tensor, length: Tensor
    ) -> Tensor:
        """Returns the mean disagreement about episodes, see `episode_disagreement`."""
        return episode_disagreement(network, model.rssm.features(state), action, length)


EXPLORATION = Plan2Explore
