"""What the Dreamers' networks compute, written out anew from the formulas.

`lib.algos.dreamer.plain` and the fast path call the same layers, latents and policies; here each is
computed a second time, as an ordinary PyTorch program would have it, so that a mistake in either
shows. The modules lend their weights.

Shapes: B rows, V variables, C classes, Z, D and F = Z + D of the state, A action.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.algos.dreamer.behaviour import Actor
from lib.algos.dreamer.exploration.plan2explore import Ensemble
from lib.algos.dreamer.fast.gru import GruCell
from lib.algos.dreamer.networks import NORM_EPS, ImageEncoder, SymbolEncoder
from lib.algos.dreamer.rssm import Rssm, State
from lib.algos.dreamer.settings import LatentConfig
from lib.algos.dreamer.world_model import WorldModel
from lib.core.spaces import ObsSpace

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
    if cfg.std == "softplus":
        return mean, torch.log1p(torch.exp(raw)) + cfg.min_std
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
    if isinstance(rssm.cell, GruCell):
        new, old = rssm.cell.of_input, rssm.cell.of_state
        return torch.gru_cell(x, state.h, new.weight, old.weight, new.bias, old.bias)
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


def mean_reward(model: WorldModel, read: Tensor) -> Tensor:
    """(B, F) to (B,)."""
    return model.reward_head.net(read)[:, 0]


def mean_discount(model: WorldModel, read: Tensor, gamma: float) -> Tensor:
    """(B, F) to (B,); gamma everywhere without a head."""
    if model.discount_head is None:
        return torch.full_like(read[:, 0], gamma)
    return torch.sigmoid(model.discount_head.net(read)[:, 0])


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
        for told in members(ensemble, torch.cat(state, -1), action[t]):
            losses.append(0.5 * ((told - states[t + 1].z) ** 2).sum(-1).mean())
    return sum(losses) / (len(states) - 1)


def disagreement(ensemble: Ensemble, read: Tensor, action: Tensor) -> Tensor:
    """Population standard deviation of the members, averaged over z: (B,)."""
    return torch.stack(members(ensemble, read, action)).std(0, unbiased=False).mean(-1)


# Policies -----------------------------------------------------------------------------------


def normal(stats: Tensor) -> torch.distributions.Normal:
    """The distribution before tanh: mean 5 tanh(m / 5), std softplus(s) + 0.1."""
    mean, raw = stats.chunk(2, -1)
    return torch.distributions.Normal(
        5 * torch.tanh(mean / 5), F.softplus(raw) + 0.1, validate_args=False
    )


def squashed(raw: Tensor, stats: Tensor) -> Tensor:
    """Log-density of tanh(raw), summed: (N,)."""
    return (normal(stats).log_prob(raw) - torch.log(1 - torch.tanh(raw) ** 2)).sum(-1)


def act(actor: Actor, read: Tensor, noise: Tensor) -> Tensor:
    """A sampled action: (N, F) to (N, A)."""
    stats = actor.net(read).float()
    if actor.actions.discrete:
        return one_hot_sample(stats, noise)
    told = normal(stats)
    return torch.tanh(told.mean + told.stddev * noise)


def best(actor: Actor, read: Tensor) -> Tensor:
    """The likeliest action, or the mean's."""
    stats = actor.net(read).float()
    if actor.actions.discrete:
        return F.one_hot(stats.argmax(-1), actor.actions.size).to(stats)
    return torch.tanh(normal(stats).mean)


def likeliest(actor: Actor, read: Tensor, noise: Tensor) -> Tensor:
    """The likeliest of K samples of one state: (1, F) and (K, 1, A) to (1, A).

    The density of a = tanh(x) is that of x over 1 - a^2.
    """
    told = normal(actor.net(read).float())
    found = []
    for each in noise:
        raw = told.mean + told.stddev * each
        action = torch.tanh(raw)
        found.append(((told.log_prob(raw) - torch.log1p(-(action**2))).sum().item(), action))
    return max(found, key=lambda pair: pair[0])[1]


def surprise(actor: Actor, read: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of an action, detached, and the policy's entropy: (N,) each."""
    stats, action = actor.net(read).float(), action.detach()
    if actor.actions.discrete:
        log_probs = torch.log_softmax(stats, -1)
        return (log_probs * action).sum(-1), -(log_probs.exp() * log_probs).sum(-1)
    edge = 1 - 1e-6
    told = normal(stats)
    log_prob = squashed(torch.atanh(action.clamp(-edge, edge)), stats)
    return log_prob, -squashed(told.mean + told.stddev * noise, stats)
