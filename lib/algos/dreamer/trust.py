"""A small ensemble of priors says how far imagined rollouts of a world model can be trusted.

A prior predicts the stochastic state from the recurrent one. K heads are fitted to do the same on
the model's frozen states of replayed episodes, each from other first weights and on other samples.
Where the replay had states like an imagined one they agree; where it had none, nothing made them.

Source: disagreement of one-step heads as in Plan2Explore (Sekar et al. 2020, section 3.1), fitted
after training as deep ensembles are (Lakshminarayanan et al. 2017). Differs from the ensemble of
`exploration.plan2explore`: it sees the action that was taken (through the recurrent state), and any
Dreamer can have it. All members share one recurrent state, so that errors of the recurrence itself
are seen only as far as they lead to states unlike those replayed.

Letters: M records, K members, B samples, D recurrent state, W width, Z latent, H steps ahead, N
rollouts, E episodes, Q quantiles.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.algos.dreamer import audit
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.world_model import WorldModel
from lib.core import calibration
from lib.replay.buffer import Episodes

MEMBERS = 5  # K, as many as Plan2Explore's
WIDTH = 64  # W: a hundredth of a second per hundred steps on one core
STEPS, SAMPLES, RATE = 300, 128, 3e-3  # of Adam, B each; a few seconds for 1,024 latents
REPLAYED = 4096  # records that they are fitted to, at least one episode
HORIZON = 15  # H, DreamerV2's imagination
STARTS = 16  # rollouts from each held-out episode
PREFIX = "trust_prior_"  # of the heads' names among an audit's arrays


class Priors(NamedTuple):
    """K heads with one hidden layer each."""

    inner: Tensor  # (K, D, W)
    inner_bias: Tensor  # (K, 1, W)
    outer: Tensor  # (K, W, Z)
    outer_bias: Tensor  # (K, 1, Z)


def predict(priors: Priors, h: Tensor) -> Tensor:
    """Returns what each member expects z to be on average.

    Args:
        h: (N, D) for all members alike, or (K, N, D) for each its own.

    Returns:
        (K, N, Z).
    """
    if h.dim() == 2:
        h = h.expand(len(priors.inner), *h.shape)
    hidden = F.elu(torch.baddbmm(priors.inner_bias, h, priors.inner))
    return torch.baddbmm(priors.outer_bias, hidden, priors.outer)


@torch.no_grad()
def disagreement(priors: Priors, h: Tensor) -> Tensor:
    """Returns the members' population standard deviation, averaged over z: (..., D) to (...).

    Along an open-loop rollout h is (H, N, D), and what is returned (H, N) [latent units].
    """
    found = predict(priors, h.flatten(0, -2))
    return found.std(0, correction=0).mean(-1).reshape(h.shape[:-1])


def fresh(sizes: tuple[int, int], generator: torch.Generator, members: int = MEMBERS) -> Priors:
    """Returns members with random weights, uniform as PyTorch's linear layers, and no biases.

    Args:
        sizes: D and Z.
    """
    (inputs, outputs), device = sizes, generator.device

    def weight(rows: int, columns: int) -> Tensor:
        shape = (members, rows, columns)
        return (2 * torch.rand(shape, generator=generator, device=device) - 1) / rows**0.5

    zeros = [torch.zeros(members, 1, width, device=device) for width in (WIDTH, outputs)]
    return Priors(weight(inputs, WIDTH), zeros[0], weight(WIDTH, outputs), zeros[1])


def fit(h: Tensor, z: Tensor, generator: torch.Generator, steps: int = STEPS) -> Priors:
    """Fits an ensemble to predict z from h; nothing flows back into either.

    Args:
        h: (M, D) recurrent states. z: (M, Z) the posteriors' modes there.
        generator: first weights, and the samples of every step, drawn for each member by itself.
    """
    h, z = h.detach().float(), z.detach().float()
    draw = {"generator": generator, "device": generator.device}
    priors = fresh((h.shape[1], z.shape[1]), generator)
    priors = Priors(*(part.to(h.device).requires_grad_() for part in priors))
    adam = torch.optim.Adam(priors, RATE)
    with torch.enable_grad():
        for _ in range(steps):
            chosen = torch.randint(len(h), (MEMBERS, SAMPLES), **draw).to(h.device)
            error = predict(priors, h[chosen]) - z[chosen]  # (K, B, Z)
            adam.zero_grad()
            error.square().sum(-1).mean(-1).sum().backward()  # members do not see each other
            adam.step()
    return Priors(*(part.detach() for part in priors))


@torch.no_grad()
def fit_to(model: WorldModel, episodes: Episodes, generator: torch.Generator) -> Priors:
    """Fits an ensemble to a world model's states of whole episodes, their first records left out.

    Args:
        episodes: obs (E, T+1, *shape), action (E, T, A), length (E,).
    """
    obs, action = episodes.obs.transpose(0, 1), episodes.action.transpose(0, 1)
    state, posterior, _ = audit.observe(model, obs, action, generator)
    record = torch.arange(len(obs), device=obs.device).unsqueeze(1)  # (T+1, 1)
    there = (record >= 1) & (record <= episodes.length)
    return fit(state.h[there], model.rssm.latent.mode(posterior)[there], generator)


# Along rollouts -----------------------------------------------------------------------------


class Rollouts(NamedTuple):
    """How far an ensemble disagrees along open-loop rollouts, and how wrong these are."""

    disagreement: Tensor  # (H, N) [latent units]
    error: Tensor  # (H, N) the objective's measure, or the KL of `surprise` where it has none
    there: Tensor  # (H, N) bool, whether the episode lasted so long


def surprise(model: WorldModel, posterior: Tensor, h: Tensor) -> Tensor:
    """Returns the KL of what is inferred from a record from what was imagined [nats]: (...).

    Args:
        posterior: (..., P) statistics with everything seen. h: (..., D) imagined, open loop.
    """
    return model.rssm.latent.kl(posterior, model.rssm.prior(h))


@torch.no_grad()
def rollouts(
    model: WorldModel,
    priors: Priors,
    obs: Tensor,
    action: Tensor,
    length: Tensor,
    generator: torch.Generator,
) -> Rollouts | None:
    """Lets a model imagine from records of held-out episodes on; None where all are too short.

    Args:
        obs: (T+1, E, *shape) as stored. action: (T, E, A). length: (E,) decisions.
    """
    longest = int(length.max())
    if longest <= audit.CONTEXT:
        return None
    state, posterior, _ = audit.observe(model, obs, action, generator)
    stride = max(1, (longest - audit.CONTEXT) // STARTS)
    start = torch.arange(audit.CONTEXT - 1, longest - 1, stride, device=obs.device)  # (S,)
    steps = min(HORIZON, longest - audit.CONTEXT + 1)
    record = start + torch.arange(1, steps + 1, device=obs.device).unsqueeze(1)  # (H, S)
    there = (record.unsqueeze(-1) <= length).flatten(1)  # (H, S E)
    record = record.clamp(max=longest)
    taken = action[record - 1].flatten(1, 2)  # (H, S E, A)
    begin = State(*(part[start].flatten(0, 1) for part in state))
    features = audit.open_loop(model, begin, taken, generator)  # (H, S E, F)
    h = features[..., model.rssm.latent.size :]
    error = model.objective.error(features, obs[record].flatten(1, 2))
    if error is None:
        error = surprise(model, posterior[record].flatten(1, 2), h)
    return Rollouts(disagreement(priors, h), error, there)


def calibrate(found: Rollouts) -> tuple[dict[str, float], np.ndarray]:
    """Says whether disagreement tells where a model is wrong.

    Returns:
        `disagreement`, its mean; `trust_rank` and `trust_rank_by_step`, its rank correlation with
        the error, over all states and among those equally far ahead; `error_trusted` and
        `error_distrusted`, the mean error in the fifths that it is lowest and highest in. What
        cannot be told is left out. And (Q,) the mean error by fifth.
    """
    signal, error, there = (part.cpu().numpy() for part in found)
    there = there & np.isfinite(signal) & np.isfinite(error)  # a broken model is told elsewhere
    by_fifth = calibration.error_by_quantile(signal[there], error[there])
    told = {
        "disagreement": signal[there].mean() if there.any() else np.nan,
        "trust_rank": calibration.rank_correlation(signal[there], error[there]),
        "trust_rank_by_step": calibration.rank_correlation_by_step(signal, error, there),
        "error_trusted": by_fifth[0],
        "error_distrusted": by_fifth[-1],
    }
    return {name: float(value) for name, value in told.items() if np.isfinite(value)}, by_fifth


# Audits -------------------------------------------------------------------------------------


@torch.no_grad()
def examine(
    model: WorldModel,
    replayed: Episodes,
    held_out: Mapping[str, Tensor],
    names: Sequence[str],
    generator: torch.Generator,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Fits an ensemble to replayed episodes, and calibrates it on what was held out of every task.

    Args:
        replayed: of the run, see `fit_to`.
        held_out: obs (tasks, K, T+1, *shape), action, length: of a domain.
        names: of the tasks learnt so far.

    Returns:
        `audit/met-TASK/...` metrics of `calibrate`; and arrays: `trust_error` (tasks, Q) by fifth,
        NaN where no episode lasts long enough, and the ensemble, see `read`.
    """
    priors = fit_to(model, replayed, generator)
    metrics: dict[str, float] = {}
    by_fifth = np.full((len(names), calibration.QUANTILES), np.nan, np.float32)
    for index, name in enumerate(names):
        length = held_out["length"][index]  # (K,)
        longest = int(length.max())
        obs = held_out["obs"][index, :, : longest + 1].transpose(0, 1)
        action = held_out["action"][index, :, :longest].transpose(0, 1)
        found = rollouts(model, priors, obs, action, length, generator)
        if found is None:
            continue
        told, by_fifth[index] = calibrate(found)
        metrics |= {f"audit/met-{name}/{part}": value for part, value in told.items()}
    kept = {f"{PREFIX}{name}": part.cpu().numpy() for name, part in priors._asdict().items()}
    return metrics, {"trust_error": by_fifth, **kept}


def read(arrays: Mapping[str, np.ndarray], device: torch.device | str) -> Priors | None:
    """Returns the ensemble that an audit kept among its arrays; None where it kept none."""
    names = [f"{PREFIX}{name}" for name in Priors._fields]
    if not all(name in arrays for name in names):
        return None
    return Priors(*(torch.from_numpy(arrays[name]).to(device) for name in names))
