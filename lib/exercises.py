"""What readers are asked to write themselves: inputs to compare on, and the usual mistakes.

The answer of every exercise is the library's own function, so no solution is kept twice.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from lib import losses, metrics
from lib.distributions import categorical_index, one_hot, straight_through
from lib.dreamer.latents import Categorical
from lib.envs.optimum import finite_horizon_values, policy_values
from lib.errors import unknown
from lib.replay.retention import Reservoir
from lib.replay.sampling import Sampler, Table
from lib.tdmpc.counts import visit_bonus
from lib.tdmpc.model import Dynamics
from lib.tdmpc.planner import elite_weights, rated
from lib.tdmpc.update import rehearsal_loss
from lib.teach import Case, Exercise, Mistake

H, B = 5, 3  # steps and windows of the random inputs
LATENT = Categorical(2, 7)  # of the random statistics
REHEARSED = Dynamics(
    5, 2, 11, Generator().manual_seed(0), crelu=False, bounded=True
).requires_grad_(False)


def _normal(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator)


def _score_cases(generator: Generator) -> list[Case]:
    edges = torch.tensor([1.0, 0.5, 1e-5, 0.0])  # an exact prediction must stay finite
    return [Case((_normal(generator, H, B).square(),)), Case((edges,))]


def _windowed_sum_cases(generator: Generator) -> list[Case]:
    return [
        Case((_normal(generator, H, B).abs(), 0.5)),
        Case((_normal(generator, 1, B).abs(), 0.5)),  # one step only
        Case((torch.full((H, B), 1e4), 0.9)),  # beyond the cap
    ]


def _td_target_cases(generator: Generator) -> list[Case]:
    reward, next_q = _normal(generator, H, B), _normal(generator, 2, H, B)
    return [
        Case((reward, next_q, 0.99)),
        Case((reward, next_q, 0.0)),  # only the reward is left
        Case((torch.zeros(1, 1), torch.tensor([[[3.0]], [[-1.0]]]), 0.5)),
    ]


def _review_cases(generator: Generator) -> list[Case]:
    old, now = (_normal(generator, H, B).exp() * 1e-3 for _ in range(2))
    known = torch.full((B,), 1e-6)
    return [
        Case((old, now, 7.0)),
        Case((old, now, 7.0), {"sharpness": 1.0, "cost": 0.25}),
        Case((known, known, 9.5)),
        Case((torch.zeros(B), torch.zeros(B), 9.5)),  # both models perfect
    ]


def _review_with_one_slope(
    old_error: Tensor,
    current_error: Tensor,
    threshold: float,
    *,
    sharpness: float = 4.0,
    **rest: Any,
) -> Tensor:
    cost = rest.get("cost", 0.5)
    old, now = losses.prediction_score(old_error), losses.prediction_score(current_error)
    steep = torch.sigmoid(sharpness * (now - threshold))
    return torch.sigmoid(sharpness * (old - threshold)) - cost * steep


# Dreamer --------------------------------------------------------------------------------------


def _balanced_kl_cases(generator: Generator) -> list[Case]:
    q, p = (_normal(generator, H, B, LATENT.parameters) for _ in range(2))
    return [
        Case((LATENT.kl, q, p, 0.8)),
        Case((LATENT.kl, q, p, 0.8, 1.2)),  # less than the average: no effect on it
        Case((LATENT.kl, q, p, 0.8, 50.0)),  # more: nothing is trained
        Case((LATENT.kl, q, q + 1.0, 0.3)),  # the same distribution
    ]


def _kl_free_one_by_one(
    kl: Callable[[Tensor, Tensor], Tensor], q: Tensor, p: Tensor, balance: float, free: float = 0.0
) -> tuple[Tensor, Tensor]:
    each = kl(losses.scaled_gradient(q, 1 - balance), losses.scaled_gradient(p, balance))
    return (each.clamp_min(free) if free else each).mean(), each.mean().detach()


def _plain_kl(
    kl: Callable[[Tensor, Tensor], Tensor], q: Tensor, p: Tensor, balance: float, free: float = 0.0
) -> tuple[Tensor, Tensor]:
    average = kl(q, p).mean()
    return average.clamp_min(free) if free else average, average.detach()


def _straight_through_cases(generator: Generator) -> list[Case]:
    probs = _normal(generator, H, B, 7).softmax(-1)
    sure = torch.eye(4)[[2, 0]]
    return [
        Case((probs, torch.rand(H, B, generator=generator))),
        Case((probs[:, :1], torch.zeros(H, 1))),  # the smallest draw
        Case((sure, torch.tensor([0.0, 0.99]))),
    ]


def _lambda_return_cases(generator: Generator) -> list[Case]:
    reward, value = _normal(generator, H, B), _normal(generator, H, B)
    discount = torch.rand(H, B, generator=generator)
    ends = torch.tensor([[0.9], [0.0], [0.9]])  # the second state is the last one
    return [
        Case((reward, discount, value, 0.95)),
        Case((reward, discount, value, 0.0)),  # trusts the critic
        Case((reward, discount, value, 1.0)),  # trusts the rollout
        Case((reward[:1], discount[:1], value[:1], 0.5)),  # one step only
        Case((torch.ones(3, 1), ends, 10 * torch.ones(3, 1), 0.5)),
    ]


def _returns_from(last: Callable[[Tensor], Tensor], d_of_r: bool, swap: bool) -> Callable[..., Any]:
    """A lambda return that begins with `last` of the values, may discount rewards or swap lam."""

    def wrong(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
        lam = 1 - lam if swap else lam
        found = [last(value)]
        for k in reversed(range(len(reward))):
            ahead = discount[k] * ((1 - lam) * value[k] + lam * found[-1])
            found.append((discount[k] if d_of_r else 1.0) * reward[k] + ahead)
        return torch.stack(found[:0:-1])

    return wrong


def _reinforce_cases(generator: Generator) -> list[Case]:
    log_prob = -_normal(generator, H - 1, B).abs()
    returns, value = _normal(generator, H, B), _normal(generator, H, B)
    return [
        Case((log_prob, returns, value)),
        Case((log_prob[:1], returns[:2], value[:2])),  # one action only
        Case((log_prob, returns, torch.cat((returns[1:], value[:1])))),  # nothing better or worse
    ]


# Replay ---------------------------------------------------------------------------------------


def leaving(key: list[float], size: list[int], capacity: int) -> list[int]:
    """Positions of those that leave a reservoir, in that order, until the rest fits.

    Args:
        key: drawn at arrival, oldest first. size: what each takes. capacity: what sizes may sum to.
    """
    return Reservoir().leaving(np.array(key), np.array(size), capacity, Generator())


def recent_position(coin: float, u: float, stored: int, share: float) -> int:
    """Position, oldest first, of the episode that a draw with `sampling="recent"` leads to."""
    table = Table()
    table.order = np.arange(stored)
    sampler = Sampler("recent", share, slack=1, row_start="zero")
    return int(sampler.choose(table, np.array([[coin, u]]))[0])


def _leaving_cases(generator: Generator) -> list[Case]:
    key = torch.rand(7, generator=generator).tolist()
    return [
        Case((key, [1, 1, 1, 1, 1, 1, 1], 4)),
        Case((key, [4, 2, 7, 1, 3, 5, 2], 13)),
        Case((key, [4, 2, 7, 1, 3, 5, 2], 24)),  # just fits: nobody leaves
        Case(([0.5, 0.2, 0.9], [3, 3, 3], 6)),  # just fits without one
        Case(([0.5, 0.9, 0.2], [3, 3, 3], 6)),  # the newest does not enter
    ]


def _leave_by(order: Callable[[list[float]], list[int]], fits: Callable[[int, int], bool]) -> Any:
    """A rule that lets go in some order until what is left fits, as `fits` sees it."""

    def wrong(key: list[float], size: list[int], capacity: int) -> list[int]:
        left, gone = sum(size), []
        for position in order(key):
            if fits(left, capacity):
                break
            gone.append(position)
            left -= size[position]
        return gone

    return wrong


def _smallest_first(key: list[float]) -> list[int]:
    return sorted(range(len(key)), key=key.__getitem__)


def _as_many_as_too_much(key: list[float], size: list[int], capacity: int) -> list[int]:
    return _smallest_first(key)[: max(0, len(size) - capacity)]


def _recent_cases(generator: Generator) -> list[Case]:
    draws = torch.rand(6, 2, generator=generator, dtype=torch.float64).tolist()
    random = [Case((coin, u, 100, 0.5)) for coin, u in draws]
    return [
        *random,
        Case((0.2, 0.25, 10, 0.5)),  # favours new ones
        Case((0.8, 0.25, 10, 0.5)),  # does not
        Case((0.3, 0.5, 10, 0.25)),
        Case((0.0, 0.999, 1, 1.0)),  # one episode alone
    ]


def _position_by(bend: Callable[[float], float], turned: bool = False) -> Callable[..., int]:
    """A draw whose uniform number is bent in another way, or by the other draws."""

    def wrong(coin: float, u: float, stored: int, share: float) -> int:
        return int(stored * (bend(u) if (coin < share) != turned else u))

    return wrong


# Tasks and streams ----------------------------------------------------------------------------


def _values_cases(generator: Generator) -> list[Case]:
    next_state = torch.randint(7, (7, 3), generator=generator)
    reward = _normal(generator, 7, 3)
    waits = torch.tensor([[0, 1], [0, 1]])  # two states, each action leads to one of them
    pays = torch.tensor([[0.0, 0.0], [0.0, 5.0]])  # only staying in the second
    return [
        Case((next_state, reward, 5)),
        Case((next_state, reward, 1)),
        Case((next_state, reward, 0)),  # no step left, nothing to earn
        Case((waits, pays, 3)),
    ]


def _matrix_cases(generator: Generator) -> list[Case]:
    drawn = torch.rand(4, 4, generator=generator).tolist()
    below = [[drawn[k][j] if j <= k else math.nan for j in range(4)] for k in range(4)]
    return [
        Case((below,)),
        Case(([[0.9, math.nan], [0.5, 0.8]],)),
        Case(([[0.5, math.nan, math.nan], [0.8, 0.6, math.nan], [0.3, 0.6, 0.7]],)),
        Case(([[0.7]],)),  # a single task
    ]


def _since_the_best(matrix: list[list[float]]) -> float:
    return float((np.nanmax(matrix, axis=0) - np.asarray(matrix)[-1]).mean())


def _area_cases(generator: Generator) -> list[Case]:
    height = torch.rand(4, generator=generator).tolist()
    return [
        Case(([0, 1, 3, 4], height)),
        Case(([0, 1, 3, 4], height, 6)),  # goes on level
        Case(([2, 3, 5, 6], height, 8)),  # begins level, too
        Case(([0], [0.5])),  # one evaluation: a point
    ]


def _area_of_what_was_seen(steps: list[float], performance: list[float], end: Any = None) -> float:
    last = steps[-1] if end is None else end
    return float(np.trapezoid(performance, steps) / last) if last else performance[0]


def _whole_area(steps: list[float], performance: list[float], end: Any = None) -> float:
    length = steps[-1] if end is None else end
    return metrics.area_under_curve(steps, performance, end) * (length or 1)


# Planning -------------------------------------------------------------------------------------


def _elite_cases(generator: Generator) -> list[Case]:
    values = _normal(generator, B, 11)
    return [
        Case((values, H, 0.5)),
        Case((values, 1, 0.5)),  # one elite has all the weight
        Case((values, 17, 2.0)),  # more elites than candidates
        Case((torch.tensor([[1.0, 3.0, 2.0]]), 2, 0.0)),  # no temperature: equal weights
    ]


def _weigh_everybody(values: Tensor, elites: int, temperature: float) -> tuple[Tensor, Tensor]:
    index = elite_weights(values, elites, temperature)[0]
    return index, torch.softmax(temperature * values, 1).gather(1, index)


def _divide_by_the_temperature(
    values: Tensor, elites: int, temperature: float
) -> tuple[Tensor, Tensor]:
    best, index = values.topk(min(elites, values.shape[1]), dim=1)
    return index, torch.softmax(best / max(temperature, 1e-9), dim=1)


def _the_worst(values: Tensor, elites: int, temperature: float) -> tuple[Tensor, Tensor]:
    index, weights = elite_weights(-values, elites, temperature)
    return index, weights


# Generative replay ----------------------------------------------------------------------------


def _vae_cases(generator: Generator) -> list[Case]:
    x, again = _normal(generator, B, 5), _normal(generator, B, 5)
    mean, log_var = _normal(generator, B, 7), _normal(generator, B, 7)
    still = torch.zeros(B, 7)
    return [
        Case((x, again, mean, log_var, 1.0)),
        Case((x, again, mean, log_var, 0.25)),
        Case((x, x.clone(), still, still, 1.0)),  # nothing to pay: both terms are 0
    ]


def _vae_with(kl: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Any]:
    """The generator's loss with another divergence."""

    def wrong(x: Tensor, again: Tensor, mean: Tensor, log_var: Tensor, beta: float) -> Any:
        loss = (x - again).square().mean()
        divergence = kl(mean, log_var)
        return loss + beta * divergence, {"reconstruction": loss, "kl": divergence}

    return wrong


def _rehearsal_cases(generator: Generator) -> list[Case]:
    dynamics = REHEARSED
    obs, action = _normal(generator, B, 5), _normal(generator, B, 2)
    answer = _normal(generator, B, 5)
    return [
        Case((dynamics, obs, action, answer, "raw")),
        Case((dynamics, obs, action, answer.tanh(), "bounded")),
        Case((dynamics, obs, action, dynamics.raw(obs, action), "raw")),  # nothing forgotten
    ]


def _always(match: str) -> Callable[..., Any]:
    def wrong(dynamics: Dynamics, obs: Tensor, action: Tensor, target: Tensor, asked: str) -> Any:
        return rehearsal_loss(dynamics, obs, action, target, match)

    return wrong


def _summed(dynamics: Dynamics, obs: Tensor, action: Tensor, target: Tensor, match: str) -> Tensor:
    return rehearsal_loss(dynamics, obs, action, target, match) * target.shape[-1]


# Review ---------------------------------------------------------------------------------------


def planned_reward(reward: Tensor, visits: Tensor) -> Tensor:
    """What the reviewer counts in its plans for rewards earned in states seen N times before."""
    return rated(reward, visits, visit_bonus)


def _planned_cases(generator: Generator) -> list[Case]:
    reward = _normal(generator, H, B)
    visits = torch.randint(0, 9, (H, B), generator=generator).float()
    return [
        Case((reward, visits)),
        Case((reward, torch.zeros(H, B))),  # nothing was seen before
        Case((torch.tensor([1.0, 0.0, -0.5]), torch.full((3,), 400.0))),
    ]


EXERCISES = (
    Exercise(
        losses.prediction_score,
        _score_cases,
        (
            Mistake(
                lambda error: -torch.log(error), "An exact prediction gives infinity: floor it."
            ),
            Mistake(
                lambda error: torch.log(error.clamp_min(losses.ERROR_FLOOR)),
                "The sign is turned round: a smaller error must score higher.",
            ),
        ),
    ),
    Exercise(
        losses.windowed_sum,
        _windowed_sum_cases,
        (
            Mistake(
                lambda terms, rho: rho * losses.windowed_sum(terms, rho),
                "The weight is one step off: step 0 counts fully, as rho**0.",
            ),
            Mistake(
                lambda terms, rho: terms.sum(0).clamp_max(losses.STEP_SUM_CAP),
                "Later steps must count less: weigh step k by rho**k.",
            ),
            Mistake(
                lambda terms, rho: (losses.temporal_weights(len(terms), rho, terms) * terms).sum(0),
                "The sum is capped, so that one window cannot dominate the batch.",
            ),
        ),
    ),
    Exercise(
        losses.td_target,
        _td_target_cases,
        (
            Mistake(
                lambda reward, next_q, discount: (reward + discount * next_q.amax(0)).detach(),
                "It takes the larger of the two critics; the smaller one curbs overestimation.",
            ),
            Mistake(
                lambda reward, next_q, discount: reward + discount * next_q.amin(0),
                "The gradient is not stopped: a target is an answer, not something to train.",
            ),
            Mistake(
                lambda reward, next_q, discount: discount * (reward + next_q.amin(0)).detach(),
                "The discount is one step off: the reward itself is not discounted.",
            ),
        ),
    ),
    Exercise(
        losses.review_reward,
        _review_cases,
        (
            Mistake(
                _review_with_one_slope,
                "The slope belongs to the old model's term alone; the current one keeps slope 1.",
            ),
            Mistake(
                lambda old, now, threshold, **rest: losses.review_reward(
                    now, old, threshold, **rest
                ),
                "Old and current are exchanged: what the old model knew is rewarded.",
            ),
        ),
    ),
    Exercise(
        planned_reward,
        _planned_cases,
        (
            Mistake(
                lambda reward, visits: reward * visit_bonus(visits),
                "Losses are weakened too, so that bad places would seem better with every visit.",
            ),
            Mistake(
                lambda reward, visits: reward + visit_bonus(visits),
                "The bonus is a factor here, not something added: it never pays by itself.",
            ),
            Mistake(
                lambda reward, visits: torch.where(
                    reward > 0, reward * (1 / (visits + 0.99999) - 1 / 99999), reward
                ),
                "This falls like 1/N; the bonus is one over the square root.",
            ),
            Mistake(
                lambda reward, visits: torch.where(
                    reward < 0, reward * visit_bonus(visits), reward
                ),
                "The cases are exchanged: it is positive rewards that visits weaken.",
            ),
        ),
    ),
    Exercise(
        losses.balanced_kl,
        _balanced_kl_cases,
        (
            Mistake(
                lambda kl, q, p, balance, free_nats=0.0: losses.balanced_kl(
                    kl, q, p, 1 - balance, free_nats
                ),
                "The shares are exchanged: `balance`, the larger one, is to train the prior.",
            ),
            Mistake(
                _plain_kl,
                "This is the plain KL: scale the gradient that each of the two sides gets.",
            ),
            Mistake(
                _kl_free_one_by_one,
                "Free nats are taken off one by one; it is the average that may fall no lower.",
            ),
        ),
    ),
    Exercise(
        straight_through,
        _straight_through_cases,
        (
            Mistake(
                lambda probs, uniform: one_hot(
                    categorical_index(probs.detach(), uniform), probs.shape[-1]
                ),
                "The sample is right, but no gradient passes: add probs - probs.detach().",
            ),
            Mistake(
                lambda probs, uniform: (
                    one_hot(probs.argmax(-1), probs.shape[-1]) + (probs - probs.detach())
                ),
                "It always takes the likeliest class; the uniform number is to choose.",
            ),
            Mistake(
                lambda probs, uniform: (
                    one_hot(categorical_index(probs.detach(), uniform), probs.shape[-1]) + probs
                ),
                "The sample is no longer one-hot: take the value of probs away again.",
            ),
        ),
    ),
    Exercise(
        losses.lambda_return,
        _lambda_return_cases,
        (
            Mistake(
                _returns_from(lambda value: torch.zeros_like(value[-1]), False, False),
                "It takes what lies beyond the rollout for nothing; begin with the last value.",
            ),
            Mistake(
                _returns_from(lambda value: value[-1], True, False),
                "The discount is one step off: r_k itself is received in full.",
            ),
            Mistake(
                _returns_from(lambda value: value[-1], False, True),
                "lam is turned round: 0 trusts the critic, 1 the rollout.",
            ),
        ),
    ),
    Exercise(
        losses.reinforce_objective,
        _reinforce_cases,
        (
            Mistake(
                lambda log_prob, returns, baseline: log_prob * (returns[1:] - baseline[:-1]),
                "The advantage is a weight, not something to train: detach it.",
            ),
            Mistake(
                lambda log_prob, returns, baseline: (
                    log_prob * (returns[:-1] - baseline[:-1]).detach()
                ),
                "The return is one step off: an action taken in state k leads to state k + 1.",
            ),
            Mistake(
                lambda log_prob, returns, baseline: log_prob * returns[1:].detach(),
                "There is no baseline: every action that pays at all would become more likely.",
            ),
        ),
    ),
    Exercise(
        leaving,
        _leaving_cases,
        (
            Mistake(
                _leave_by(lambda key: list(range(len(key))), lambda left, most: left <= most),
                "The oldest leave: that is fifo. Here the smallest keys do.",
            ),
            Mistake(
                _leave_by(lambda key: _smallest_first(key)[::-1], lambda left, most: left <= most),
                "The largest keys leave; it is the smallest ones that have to.",
            ),
            Mistake(
                _leave_by(_smallest_first, lambda left, most: left < most),
                "One leaves too many: what just fits may stay.",
            ),
            Mistake(
                _as_many_as_too_much,
                "It counts items, but the capacity is about the sum of their sizes.",
            ),
        ),
    ),
    Exercise(
        recent_position,
        _recent_cases,
        (
            Mistake(
                lambda coin, u, stored, share: int(stored * u),
                "Every draw is uniform: those that favour new episodes take the square root of u.",
            ),
            Mistake(
                _position_by(math.sqrt, turned=True),
                "The coin is turned round: the square root belongs to draws with coin < share.",
            ),
            Mistake(
                _position_by(lambda u: u * u),
                "A square favours old episodes; the square root moves u towards 1.",
            ),
            Mistake(
                _position_by(lambda u: 1 - math.sqrt(u)),
                "This counts from the newest: position 0 is the oldest.",
            ),
        ),
    ),
    Exercise(
        finite_horizon_values,
        _values_cases,
        (
            Mistake(
                lambda next_state, reward, steps: steps * reward.double().amax(1),
                "It takes the best pay of one state again and again; add what follows from there.",
            ),
            Mistake(
                lambda next_state, reward, steps: policy_values(
                    next_state, reward, torch.full((reward.shape[1],), 1 / reward.shape[1]), steps
                ),
                "This averages over actions, as if acting by chance; the best one is chosen.",
            ),
            Mistake(
                lambda next_state, reward, steps: finite_horizon_values(
                    next_state, reward, steps + 1
                ),
                "It counts one step too many: with no step left nothing is earned.",
            ),
        ),
    ),
    Exercise(
        metrics.forgetting,
        _matrix_cases,
        (
            Mistake(
                metrics.backward_transfer,
                "This is backward transfer: the sign is turned and the last task left out.",
            ),
            Mistake(
                lambda matrix: -metrics.forgetting(matrix),
                "The sign is turned round: what was lost counts as positive.",
            ),
            Mistake(
                lambda matrix: -metrics.backward_transfer(matrix),
                "The last task counts in the mean, with 0.",
            ),
            Mistake(
                _since_the_best,
                "It measures from a task's best moment; take the moment when its training ended.",
            ),
        ),
    ),
    Exercise(
        metrics.area_under_curve,
        _area_cases,
        (
            Mistake(
                lambda steps, performance, end=None: float(np.mean(performance)),
                "A plain mean forgets that evaluations are unevenly spaced.",
            ),
            Mistake(
                _area_of_what_was_seen,
                "Before the first and after the last evaluation the curve stays level.",
            ),
            Mistake(_whole_area, "It is a mean height: divide by the length of the interval."),
        ),
    ),
    Exercise(
        elite_weights,
        _elite_cases,
        (
            Mistake(
                _weigh_everybody,
                "The weights are a softmax over the elites alone, so that they sum to one.",
            ),
            Mistake(
                _divide_by_the_temperature,
                "Scores are multiplied by the temperature here, as in TD-MPC's code.",
            ),
            Mistake(_the_worst, "These are the worst candidates: larger scores are better."),
        ),
    ),
    Exercise(
        losses.vae_loss,
        _vae_cases,
        (
            Mistake(
                _vae_with(
                    lambda mean, log_var: 0.5 * (log_var - mean.square() - log_var.exp() + 1).mean()
                ),
                "The sign of the KL is turned round: it would push codes away from the normal.",
            ),
            Mistake(
                _vae_with(
                    lambda mean, log_var: (mean.square() + log_var.exp() - 1 - log_var).mean()
                ),
                "The KL lacks its factor of one half.",
            ),
            Mistake(
                _vae_with(
                    lambda mean, log_var: (
                        0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
                    )
                ),
                "The KL is averaged over the code's entries, too, not summed.",
            ),
        ),
    ),
    Exercise(
        rehearsal_loss,
        _rehearsal_cases,
        (
            Mistake(
                _always("bounded"),
                "With match='raw' the network's output is compared before it is bounded.",
            ),
            Mistake(
                _always("raw"), "With match='bounded' the output is bounded before it is compared."
            ),
            Mistake(_summed, "It is a mean over the observation's entries, not a sum."),
        ),
    ),
)


def exercise_for(reference: Callable[..., Any]) -> Exercise:
    """The exercise whose answer is this function.

    Raises:
        UserError: there is none.
    """
    for exercise in EXERCISES:
        if exercise.reference is reference:
            return exercise
    known = [exercise.reference.__name__ for exercise in EXERCISES]
    raise unknown("exercise", getattr(reference, "__name__", reference), known, "or pass `cases`")
