"""Exercises generative replay: chapter 06."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from lib.algos.tdmpc.model import Dynamics
from lib.algos.tdmpc.protections.pairs import rehearsal_loss
from lib.core import losses
from lib.workbook.exercise import Case, Exercise, Mistake
from lib.workbook.exercises.inputs import B, normal

REHEARSED = Dynamics(
    5, 2, 11, Generator().manual_seed(0), crelu=False, bounded=True
).requires_grad_(False)


def _vae_cases(generator: Generator) -> list[Case]:
    x, again = normal(generator, B, 5), normal(generator, B, 5)
    mean, log_var = normal(generator, B, 7), normal(generator, B, 7)
    still = torch.zeros(B, 7)
    return [
        Case((x, again, mean, log_var, 1.0)),
        Case((x, again, mean, log_var, 0.25)),
        Case((x, x.clone(), still, still, 1.0)),  # nothing to pay: both terms are 0
    ]


def _vae_with(kl: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Any]:
    """Returns the generator's loss with another divergence."""

    def wrong(x: Tensor, again: Tensor, mean: Tensor, log_var: Tensor, beta: float) -> Any:
        loss = (x - again).square().mean()
        divergence = kl(mean, log_var)
        return loss + beta * divergence, {"reconstruction": loss, "kl": divergence}

    return wrong


def _rehearsal_cases(generator: Generator) -> list[Case]:
    dynamics = REHEARSED
    obs, action = normal(generator, B, 5), normal(generator, B, 2)
    answer = normal(generator, B, 5)
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


EXERCISES = (
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
