"""DreamerV2's world model and Plan2Explore's ensemble as their formulas have them: step by step.

The modules of `lib.algos.dreamer` lend their layers; what is done with them is written out anew: one
record of a sequence after the other, the prior within the scan, every head at every step, one
member of the ensemble after the other.

Shapes: T records, B rows, V variables, C classes, Z, D and F = Z + D of the state, A action.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.explore import Ensemble
from lib.algos.dreamer.networks import NORM_EPS, ImageEncoder, SymbolEncoder
from lib.algos.dreamer.rssm import Rssm, State
from lib.algos.dreamer.settings import DreamerRun, LatentConfig
from lib.algos.dreamer.world_model import WorldModel
from lib.core.spaces import ObsSpace
from lib.replay.store import Batch

# Distributions ------------------------------------------------------------------------------


def one_hot_sample(logits: Tensor, uniform: Tensor) -> Tensor:
    """(..., C) and (...) to a one-hot sample whose gradient is that of the probabilities."""
    probs = torch.softmax(logits, -1)
    cumulative = probs.detach().cumsum(-1)
    reached = uniform.unsqueeze(-1) * cumulative[..., -1:] >= cumulative
    index = reached.sum(-1).clamp(max=probs.shape[-1] - 1)
    return F.one_hot(index, probs.shape[-1]).to(probs) + probs - probs.detach()


def moments(stats: Tensor, cfg: LatentConfig) -> tuple[Tensor, Tensor]:
    """(..., 2 V) to mean and standard deviation of a gaussian latent."""
    mean, raw = stats.float().split(cfg.variables, -1)
    return mean, 2 * torch.sigmoid(raw / 2) + cfg.min_std


def logits_of(stats: Tensor, cfg: LatentConfig) -> Tensor:
    """(..., V C) to (..., V, C)."""
    return stats.float().reshape(*stats.shape[:-1], cfg.variables, cfg.classes)


def sample(stats: Tensor, noise: Tensor, cfg: LatentConfig) -> Tensor:
    """(..., P) statistics and their noise to (..., Z)."""
    if cfg.kind == "categorical":
        return one_hot_sample(logits_of(stats, cfg), noise).reshape(*stats.shape[:-1], -1)
    mean, std = moments(stats, cfg)
    return mean + std * noise


def kl(q: Tensor, p: Tensor, cfg: LatentConfig) -> Tensor:
    """KL(q || p) of statistics, summed over the variables: (...)."""
    if cfg.kind == "categorical":
        log_q, log_p = (torch.log_softmax(logits_of(x, cfg), -1) for x in (q, p))
        return (log_q.exp() * (log_q - log_p)).sum((-2, -1))
    (mean_q, std_q), (mean_p, std_p) = moments(q, cfg), moments(p, cfg)
    off = (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2)
    return (torch.log(std_p / std_q) + off - 0.5).sum(-1)


def entropy(stats: Tensor, cfg: LatentConfig) -> Tensor:
    """Summed over the variables: (...)."""
    if cfg.kind == "categorical":
        log_probs = torch.log_softmax(logits_of(stats, cfg), -1)
        return -(log_probs.exp() * log_probs).sum((-2, -1))
    std = moments(stats, cfg)[1]
    return (0.5 + 0.5 * torch.log(2 * torch.pi * std**2)).sum(-1)


# One step -------------------------------------------------------------------------------------


def encode(encoder: nn.Module, obs: Tensor, space: ObsSpace) -> Tensor:
    """(B, *shape) as stored to (B, E)."""
    if isinstance(encoder, SymbolEncoder):
        return encoder.net(hot(obs, space))
    if isinstance(encoder, ImageEncoder):
        x = encoder.net(pixels(obs, space).permute(0, 3, 1, 2))
        return x.permute(0, 2, 3, 1).reshape(len(obs), -1)
    return encoder.net(obs.reshape(len(obs), -1))


def hot(obs: Tensor, space: ObsSpace) -> Tensor:
    """(B, *cells, planes) symbols as one-hot planes, flat: (B, C cells)."""
    planes = obs.long().reshape(len(obs), -1, len(space.classes)).unbind(-1)
    each = [F.one_hot(p, n).transpose(1, 2) for p, n in zip(planes, space.classes, strict=True)]
    return torch.cat(each, 1).flatten(1).to(torch.get_default_dtype())


def pixels(obs: Tensor, space: ObsSpace) -> Tensor:
    """(B, *shape) to (B, 64, 64, 3) around zero."""
    return (space.draw(obs) if space.draw else obs) / 255 - 0.5


def unlikely(decoder: nn.Module, features: Tensor, obs: Tensor, space: ObsSpace) -> Tensor:
    """How unlikely the decoder finds an observation: (B, F) and (B, *shape) to (B,)."""
    if space.kind == "symbols":
        logits = decoder.net(features).reshape(len(obs), sum(space.classes), -1)
        planes = obs.long().reshape(len(obs), -1, len(space.classes)).unbind(-1)
        loss = 0
        for part, plane in zip(logits.split(space.classes, 1), planes, strict=True):
            loss = loss + F.cross_entropy(part, plane, reduction="none").sum(-1)
        return loss
    if space.kind == "image":
        mean = decoder.net(decoder.code(features)[:, :, None, None]).permute(0, 2, 3, 1)
        return 0.5 * ((mean - pixels(obs, space)) ** 2).sum((1, 2, 3))
    mean = decoder.net(features)
    return 0.5 * ((mean - obs.reshape(len(obs), -1)) ** 2).sum(-1)


def advance(rssm: Rssm, state: State, action: Tensor) -> Tensor:
    """The recurrent cell: the next h, (B, D)."""
    x = F.elu(rssm.input_norm(rssm.input(torch.cat((state.z, action), -1))))
    gates = rssm.cell_norm(rssm.cell(torch.cat((x, state.h), -1)).float())
    reset, candidate, update = gates.split(rssm.deter, -1)
    update = torch.sigmoid(update - 1)
    return update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * state.h


def expect(rssm: Rssm, h: Tensor) -> Tensor:
    """The prior's statistics, (B, P)."""
    return rssm.prior_out(F.elu(rssm.prior_norm(rssm.prior_hidden(h)))).float()


def believe(rssm: Rssm, h: Tensor, embed: Tensor) -> Tensor:
    """The posterior's statistics, (B, P)."""
    x = rssm.posterior_hidden(torch.cat((h, embed), -1))
    return rssm.posterior_out(F.elu(rssm.posterior_norm(x))).float()


def features(state: State) -> Tensor:
    """(B, F)."""
    return torch.cat((state.z, state.h), -1)


def mean_reward(model: WorldModel, read: Tensor) -> Tensor:
    """(B, F) to (B,)."""
    return model.reward_head.net(read)[:, 0]


def mean_discount(model: WorldModel, read: Tensor, gamma: float) -> Tensor:
    """(B, F) to (B,); gamma everywhere without a head."""
    if model.discount_head is None:
        return torch.full_like(read[:, 0], gamma)
    return torch.sigmoid(model.discount_head.net(read)[:, 0])


# A model update -------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What a model update leaves behind, detached."""

    states: list[State]  # T of (B, ·)
    parts: dict[str, Tensor]


def model_loss(
    model: WorldModel,
    batch: Batch,
    state: State,
    noise: Tensor,
    cfg: DreamerRun,
    space: ObsSpace,
) -> tuple[Tensor, Seen]:
    """KL, reconstruction, reward and discount, averaged over all records.

    Args:
        state: (B, ·) before the first record. noise: (T, B, ·).
    """
    aim, latent, gamma = cfg.objective, cfg.latent, cfg.behaviour.discount
    states, found = [], []
    for t, obs in enumerate(batch.obs):
        keep = 1 - batch.first[t].float()[:, None]
        state, action = State(state.z * keep, state.h * keep), batch.action[t] * keep
        h = advance(model.rssm, state, action)
        prior = expect(model.rssm, h)
        posterior = believe(model.rssm, h, encode(model.encoder, obs, space))
        state = State(sample(posterior, noise[t], latent), h)
        read = features(state)
        told: dict[str, Any] = {
            "of_prior": kl(posterior.detach(), prior, latent),
            "of_posterior": kl(posterior, prior.detach(), latent),
            "reconstruction": unlikely(model.objective.decoder, read, obs, space),
            "prior_entropy": entropy(prior.detach(), latent),
            "posterior_entropy": entropy(posterior.detach(), latent),
        }
        shaping = read if aim.reward_shapes else read.detach()
        target = torch.tanh(batch.reward[t]) if aim.reward == "tanh" else batch.reward[t]
        told["reward"] = 0.5 * (mean_reward(model, shaping) - target) ** 2
        if model.discount_head is not None:
            logit = model.discount_head.net(shaping)[:, 0]
            soft = gamma * (1 - batch.terminal[t].float())
            told["discount"] = F.binary_cross_entropy_with_logits(logit, soft, reduction="none")
        states.append(State(state.z.detach(), state.h.detach()))
        found.append(told)
    parts = {name: torch.stack([told[name] for told in found]).mean() for name in found[0]}
    of_prior, of_posterior = parts.pop("of_prior"), parts.pop("of_posterior")
    parts["kl"] = of_prior.detach()
    of_prior, of_posterior = (x.clamp(min=aim.free_nats) for x in (of_prior, of_posterior))
    total = aim.kl_scale * (aim.kl_balance * of_prior + (1 - aim.kl_balance) * of_posterior)
    for name in ("reconstruction", "reward", "discount"):
        total = total + parts.get(name, 0)
    parts["total"] = total
    return total, Seen(states, {name: part.detach() for name, part in parts.items()})


# Plan2Explore ---------------------------------------------------------------------------------


def members(ensemble: Ensemble, read: Tensor, action: Tensor) -> list[Tensor]:
    """What each member expects z to be next: K times (B, Z)."""
    told = []
    for k in range(len(ensemble.weights[0])):
        x = torch.cat((read, action), -1)
        for i, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
            if i and len(ensemble.scales):
                scale, shift = ensemble.scales[i - 1][k, 0], ensemble.shifts[i - 1][k, 0]
                x = F.layer_norm(x, x.shape[-1:], scale, shift, NORM_EPS)
            x = (F.elu(x) if i else x) @ weight[k] + bias[k, 0]
        told.append(x)
    return told


def ensemble_loss(ensemble: Ensemble, states: list[State], action: Tensor) -> Tensor:
    """Sum over members of half the squared distance to the next z, averaged over records."""
    losses = []
    for t, state in enumerate(states[:-1]):
        for told in members(ensemble, features(state), action[t]):
            losses.append(0.5 * ((told - states[t + 1].z) ** 2).sum(-1).mean())
    return sum(losses) / (len(states) - 1)


def disagreement(ensemble: Ensemble, read: Tensor, action: Tensor) -> Tensor:
    """Population standard deviation of the members, averaged over z: (B,)."""
    return torch.stack(members(ensemble, read, action)).std(0, unbiased=False).mean(-1)
