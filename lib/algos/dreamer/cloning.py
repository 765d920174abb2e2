"""Cloning: the task's actor repeats what it once did well in earlier tasks, as replay has it.

Of every earlier task those stored episodes are cloned whose return is above the average of that
task's stored ones; in each of their states the actor is asked for the action that was taken next.
Critic and world model may err about what is rarely replayed, and whatever is imagined with them
errs as well; what was done and what it was paid are facts. Tasks are told apart by their numbers,
which nothing but this and dream rehearsal reads.

Source: behavioural cloning of replay is CLEAR's (Rolnick et al., NeurIPS 2019), there of all that
is replayed; good episodes alone are self-imitation's (Oh et al., ICML 2018), there by their
advantage over the critic.

Shapes: T records, B rows, F features, A action size.
"""

import numpy as np
from torch import Tensor

from lib.algos.dreamer.behaviour import Actor
from lib.algos.dreamer.settings import CloningConfig


def clonable(task: np.ndarray, current: int, better: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Returns the records whose next action is cloned, (T, B) bool.

    Args:
        task: (T, B) number of the task that each record was collected in; current: today's.
        better: (T, B) whether the record's episode paid more than its task's average.
        first: (T, B) whether a piece of an episode begins, whose action led elsewhere.
    """
    found = (task < current) & better
    found[:-1] &= ~first[1:]
    found[-1] = False
    return found


def cloning_loss(
    actor: Actor, features: Tensor, action: Tensor, cloned: Tensor, cfg: CloningConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Averages -ln pi(a_{t+1} | s_t) over the records that are cloned, and weighs it.

    Args:
        features: (T, B, F) of states, detached.
        action: (T, B, A) that led to each record, so that a record's next one is the row below.
        cloned: (T, B) bool, see `clonable`.

    Returns:
        The loss (), and scalars for the log.
    """
    chosen = cloned[:-1].float()
    log_prob = actor.log_prob(actor(features[:-1]), action[1:])
    loss = -(chosen * log_prob).sum() / chosen.sum().clamp_min(1.0)
    return cfg.weight * loss, {"imitation": loss.detach(), "cloned": cloned.float().mean()}
