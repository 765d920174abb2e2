"""Examine what a world model expects of whole action sequences, from every state of a grid.

All sequences are asked about where they can be counted. The one that is promised most from a state
is what a perfect search would follow there; see `lib.core.plans`.

Pure functions. Letters: S states, A actions, N sequences, h steps, L observation size.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.core.distributions import one_hot
from lib.core.plans import phantoms, told_steps
from lib.envs.api import Outcomes
from lib.envs.grid.env import ACTIONS
from lib.envs.grid.table import GridTable

IMAGINED = 3_000_000  # steps: all sequences are imagined where they take no more, else a sample


class Expectations(NamedTuple):
    """What is expected of N sequences from each state, and what happens."""

    right: Tensor  # (S, h) share of sequences whose k-th prediction rounds to the true state
    imagined: Tensor  # (S, N) discounted return
    paid: Tensor  # (S, N) discounted return


def drawn_sequences(states: int, horizon: int, generator: torch.Generator) -> Tensor | None:
    """Returns the sequences (N, h) of action numbers to ask about; None means all there are."""
    if states * ACTIONS**horizon <= IMAGINED:
        return None
    count = max(1, IMAGINED // (states * horizon))
    device = generator.device
    return torch.randint(ACTIONS, (count, horizon), generator=generator, device=device)


@torch.no_grad()
def expectations(
    table: GridTable,
    reward: Tensor,
    outcomes: Outcomes,
    horizon: int,
    discount: float,
    sequences: Tensor | None = None,
) -> Expectations:
    """Imagines sequences from every state, open loop, beside what the table says of them.

    Args:
        reward: (S, A) what each transition of a task pays.
        outcomes: what the model expects of actions.
        sequences: (N, h) action numbers; None imagines all A**h, level by level, so that no
            beginning is imagined twice.
    """
    states, device = table.states, table.obs.device
    latent = table.obs.unsqueeze(1)  # (S, n, L)
    state = torch.arange(states, device=device).unsqueeze(1)  # (S, n)
    imagined = paid = torch.zeros(states, 1, dtype=torch.float64, device=device)
    right = []
    for step in range(horizon):
        if sequences is None:
            action = torch.arange(ACTIONS, device=device).repeat(latent.shape[1])
            repeats = ACTIONS
        else:
            action, repeats = sequences[:, step], len(sequences) if step == 0 else 1
        if repeats > 1:
            latent, state = (x.repeat_interleave(repeats, 1) for x in (latent, state))
            imagined, paid = (x.repeat_interleave(repeats, 1) for x in (imagined, paid))
        action = action.expand(states, -1)  # (S, n)
        moves = one_hot(action, ACTIONS).to(latent.dtype).flatten(0, 1).unsqueeze(1)  # (S*n, 1, A)
        reached, promised = outcomes(latent.flatten(0, 1), moves)
        latent = reached[:, 1].view(states, -1, latent.shape[-1])
        imagined = imagined + discount**step * promised.view(states, -1).double()
        paid = paid + discount**step * reward[state, action].double()
        state = table.next_state[state, action]
        right.append((table.nearest(latent) == state).double().mean(1))
    return Expectations(torch.stack(right, 1), imagined, paid)


class Plans(NamedTuple):
    """The sequence that is expected to pay most, from each of S states."""

    excess: np.ndarray  # (S,) what it is promised beyond what it pays
    regret: np.ndarray  # (S,) what the best sequence pays beyond what it pays
    phantom: np.ndarray  # (S,) bool, promised more than it pays by a margin


def best_plans(found: Expectations) -> Plans:
    """Picks every state's best sequence as the model ranks them, and tells what becomes of it."""
    promised, index = found.imagined.max(1)
    pays = found.paid.gather(1, index.unsqueeze(1)).squeeze(1)
    payable = found.paid.amax(1)
    promised, pays, best = (part.cpu().numpy() for part in (promised, pays, payable))
    return Plans(promised - pays, best - pays, phantoms(promised, pays, best.max()))


def metrics(found: Expectations, plans: Plans, where: np.ndarray, task: str) -> dict[str, float]:
    """Returns the flat metrics `plans/<task>/<metric>` over some states.

    Args:
        where: (S,) bool, the states that a task is acted in.
    """
    right = found.right.cpu().numpy()[where].mean(0)  # (h,)
    told = {f"right_{k}": float(right[k - 1]) for k in told_steps(len(right))}
    return {
        f"plans/{task}/{name}": value
        for name, value in {
            "phantoms": float(plans.phantom[where].sum()),
            "phantom_share": float(plans.phantom[where].mean()),
            "excess": float(plans.excess[where].mean()),
            "regret": float(plans.regret[where].mean()),
            **told,
        }.items()
    }


def audit(
    table: GridTable,
    reward: Tensor,
    where: np.ndarray,
    task: str,
    outcomes: Outcomes,
    horizon: int,
    discount: float,
    generator: torch.Generator,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Everything above at once; see `api.TabularDomain.audit_plans`.

    Args:
        reward: (S, A) what each transition of the task pays.
        where: (S,) bool, the states that the task is acted in.
        generator: draws sequences where there are too many.

    Returns:
        Flat metrics, and arrays: excess (S,), phantom (S,) bool and right (S, h).
    """
    sequences = drawn_sequences(table.states, horizon, generator)
    found = expectations(table, reward, outcomes, horizon, discount, sequences)
    plans = best_plans(found)
    arrays = {"excess": plans.excess.astype(np.float32), "phantom": plans.phantom}
    right = found.right.float().cpu().numpy()
    return metrics(found, plans, where, task), {**arrays, "right": right}
