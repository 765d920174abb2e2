"""An ensemble of one-step heads says how far imagined rollouts of a world model can be trusted.

K heads are fitted to predict the next state from a state and the action taken in it, on the model's
frozen states of replayed episodes, each from other first weights and on other samples. Where the
replay had steps like an imagined one they agree; where it had none, nothing made them.

Source: disagreement of one-step heads as in Plan2Explore (Sekar et al. 2020, section 3.1), fitted
once the model is, as a deep ensemble (Lakshminarayanan et al. 2017). Differs from the ensemble of
`exploration.plan2explore`: it is told the action of the step that it predicts, it predicts both
parts of the state, and any Dreamer can have it. The heads share the model's states, so that what
these leave out of the observations, no head can miss.

Letters: M records, K members, B samples, Z and D the parts of a state, F = Z + D features, A action
size, W width, H steps ahead, N rollouts, E episodes, S starts, P statistics, Q quantiles.
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
WIDTH = 64  # W, so that an audit's file grows by a few MB at most
PASSES, SAMPLES, RATE = 50, 128, 3e-3  # over the records by Adam, B a step
STEPS = 1000  # at most: 2 to 12 seconds of one core for 48 to 1,224 features
REPLAYED = 4096  # records that they are fitted to, at least one episode
HORIZON = 15  # H, DreamerV2's imagination
STARTS = 16  # rollouts from each held-out episode, about
PREFIX = "trust_head_"  # of the heads' names among an audit's arrays


class Heads(NamedTuple):
    """K networks with one hidden layer each."""

    inner: Tensor  # (K, F + A, W)
    inner_bias: Tensor  # (K, 1, W)
    outer: Tensor  # (K, W, F)
    outer_bias: Tensor  # (K, 1, F)


def predict(heads: Heads, step: Tensor) -> Tensor:
    """Returns what each member expects of the next features on average.

    Args:
        step: features and action side by side, (N, F + A) for all members alike, or
            (K, N, F + A) for each its own.

    Returns:
        (K, N, F).
    """
    if step.dim() == 2:
        step = step.expand(len(heads.inner), *step.shape)
    hidden = F.elu(torch.baddbmm(heads.inner_bias, step, heads.inner))
    return torch.baddbmm(heads.outer_bias, hidden, heads.outer)


@torch.no_grad()
def disagreement(heads: Heads, features: Tensor, action: Tensor) -> Tensor:
    """Returns the members' population standard deviation, averaged over the next features.

    Args:
        features: (..., F), along an open-loop rollout (H, N, F): the states that steps start from.
        action: (..., A) taken there.

    Returns:
        (...), such as (H, N) of the states that the steps lead to [latent units].
    """
    found = predict(heads, torch.cat((features, action), -1).flatten(0, -2))
    return found.std(0, correction=0).mean(-1).reshape(features.shape[:-1])


def fresh(inputs: int, outputs: int, generator: torch.Generator) -> Heads:
    """Returns heads with random weights, uniform as PyTorch's linear layers, and no biases."""
    device = generator.device

    def weight(rows: int, columns: int) -> Tensor:
        uniform = torch.rand(MEMBERS, rows, columns, generator=generator, device=device)
        return (2 * uniform - 1) / rows**0.5

    zeros = [torch.zeros(MEMBERS, 1, width, device=device) for width in (WIDTH, outputs)]
    return Heads(weight(inputs, WIDTH), zeros[0], weight(WIDTH, outputs), zeros[1])


def fit(step: Tensor, after: Tensor, generator: torch.Generator, passes: int = PASSES) -> Heads:
    """Fits an ensemble to predict what follows a step; nothing flows back into either.

    Args:
        step: (M, F + A) features and action side by side. after: (M, F) the next features.
        generator: first weights, and the samples of every step, drawn for each member by itself.
    """
    step, after = step.detach().float(), after.detach().float()
    draw = {"generator": generator, "device": generator.device}
    heads = fresh(step.shape[1], after.shape[1], generator)
    heads = Heads(*(part.to(step.device).requires_grad_() for part in heads))
    adam = torch.optim.Adam(heads, RATE, fused=True)
    with torch.enable_grad():
        for _ in range(min(STEPS, -(-passes * len(step) // SAMPLES))):
            chosen = torch.randint(len(step), (MEMBERS, SAMPLES), **draw).to(step.device)
            error = predict(heads, step[chosen]) - after[chosen]  # (K, B, F)
            adam.zero_grad()
            error.square().sum(-1).mean(-1).sum().backward()  # members do not see each other
            adam.step()
    return Heads(*(part.detach() for part in heads))


@torch.no_grad()
def fit_to(model: WorldModel, episodes: Episodes, generator: torch.Generator) -> Heads:
    """Fits an ensemble to a world model's states of whole episodes.

    The next z is the posterior's mode, so that members do not differ by what was drawn.

    Args:
        episodes: obs (E, T+1, *shape), action (E, T, A), length (E,).
    """
    obs, action = episodes.obs.transpose(0, 1), episodes.action.transpose(0, 1)
    state, posterior, _ = audit.observe(model, obs, action, generator)
    step = torch.cat((model.rssm.features(state)[:-1], action), -1)  # (T, E, F + A)
    mode = State(model.rssm.latent.mode(posterior), state.h)
    after = model.rssm.features(mode)[1:]  # (T, E, F)
    there = torch.arange(len(step), device=obs.device).unsqueeze(1) < episodes.length
    return fit(step[there], after[there], generator)


# Along rollouts -----------------------------------------------------------------------------


class Rollouts(NamedTuple):
    """How far an ensemble disagrees along open-loop rollouts, and how wrong these are."""

    disagreement: Tensor  # (H, N) [latent units]
    error: Tensor  # (H, N) the objective's measure, or the KL of `surprise` where it has none
    there: Tensor  # (H, N) bool, whether the episode lasted so long


def surprise(model: WorldModel, posterior: Tensor, features: Tensor) -> Tensor:
    """Returns the KL of what is inferred from a record from what was imagined [nats]: (...).

    Args:
        posterior: (..., P) statistics with everything seen.
        features: (..., F) of the same records, imagined open loop.
    """
    h = features[..., model.rssm.latent.size :]
    return model.rssm.latent.kl(posterior, model.rssm.prior(h))


@torch.no_grad()
def rollouts(
    model: WorldModel,
    heads: Heads,
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
    before = torch.cat((model.rssm.features(begin).unsqueeze(0), features[:-1]))
    error = model.objective.error(features, obs[record].flatten(1, 2))
    if error is None:
        error = surprise(model, posterior[record].flatten(1, 2), features)
    return Rollouts(disagreement(heads, before, taken), error, there)


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
    heads = fit_to(model, replayed, generator)
    metrics: dict[str, float] = {}
    by_fifth = np.full((len(names), calibration.QUANTILES), np.nan, np.float32)
    for index, name in enumerate(names):
        length = held_out["length"][index]  # (K,)
        longest = int(length.max())
        obs = held_out["obs"][index, :, : longest + 1].transpose(0, 1)
        action = held_out["action"][index, :, :longest].transpose(0, 1)
        found = rollouts(model, heads, obs, action, length, generator)
        if found is None:
            continue
        told, by_fifth[index] = calibrate(found)
        metrics |= {f"audit/met-{name}/{part}": value for part, value in told.items()}
    kept = {f"{PREFIX}{name}": part.cpu().numpy() for name, part in heads._asdict().items()}
    return metrics, {"trust_error": by_fifth, **kept}


def read(arrays: Mapping[str, np.ndarray], device: torch.device | str) -> Heads | None:
    """Returns the ensemble that an audit kept among its arrays; None where it kept none."""
    names = [f"{PREFIX}{name}" for name in Heads._fields]
    if not all(name in arrays for name in names):
        return None
    return Heads(*(torch.from_numpy(arrays[name]).to(device) for name in names))
