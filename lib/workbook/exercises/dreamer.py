"""Exercises recurrent world models and imagination: chapters 02 and 03."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from lib.algos.dreamer.latents import Categorical
from lib.core import losses
from lib.core.distributions import categorical_index, one_hot, straight_through
from lib.workbook.exercise import Case, Exercise, Mistake
from lib.workbook.exercises.inputs import B, H, normal

LATENT = Categorical(2, 7)  # of the random statistics


def _balanced_kl_cases(generator: Generator) -> list[Case]:
    q, p = (normal(generator, H, B, LATENT.parameters) for _ in range(2))
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
    probs = normal(generator, H, B, 7).softmax(-1)
    sure = torch.eye(4)[[2, 0]]
    return [
        Case((probs, torch.rand(H, B, generator=generator))),
        Case((probs[:, :1], torch.zeros(H, 1))),  # the smallest draw
        Case((sure, torch.tensor([0.0, 0.99]))),
    ]


def _lambda_return_cases(generator: Generator) -> list[Case]:
    reward, value = normal(generator, H, B), normal(generator, H, B)
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
    """Returns a lambda return that begins with `last` of the values, or has another mistake."""

    def wrong(reward: Tensor, discount: Tensor, value: Tensor, lam: float) -> Tensor:
        lam = 1 - lam if swap else lam
        found = [last(value)]
        for k in reversed(range(len(reward))):
            ahead = discount[k] * ((1 - lam) * value[k] + lam * found[-1])
            found.append((discount[k] if d_of_r else 1.0) * reward[k] + ahead)
        return torch.stack(found[:0:-1])

    return wrong


def _reinforce_cases(generator: Generator) -> list[Case]:
    log_prob = -normal(generator, H - 1, B).abs()
    returns, value = normal(generator, H, B), normal(generator, H, B)
    return [
        Case((log_prob, returns, value)),
        Case((log_prob[:1], returns[:2], value[:2])),  # one action only
        Case((log_prob, returns, torch.cat((returns[1:], value[:1])))),  # nothing better or worse
    ]


EXERCISES = (
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
)
