"""Discrete choices that fix an update's computation graph, and the random numbers that it takes.

Shapes: H steps of a window, B windows, A action.
"""

from typing import Any, NamedTuple

from lib.algos.tdmpc.model import policy_noise
from lib.algos.tdmpc.reviewer import review_rows
from lib.core.noise import NoiseSpec


class GraphKey(NamedTuple):
    """Two updates with equal keys are the same sequence of operations."""

    due: tuple[str, ...]  # the protections whose loss counts
    follows: bool  # the target critics move
    draws: tuple[NoiseSpec, ...]  # how each role's windows are drawn


def next_key(agent: Any) -> GraphKey:
    """Returns the key of an agent's next update."""
    cfg, learner = agent.cfg.learning, agent.learner.buffer
    mine, rest = review_rows(agent.cfg)
    draws = [learner.draw(cfg.batch)]
    if agent.reviewer:
        draws.append(agent.reviewer.buffer.draw(mine))
        if rest > cfg.batch:
            draws.append(learner.draw(rest))
    pulls = [p for p in agent.protections if p.loss and agent.old_dynamics]
    due = [p.name for p in pulls if p.due(agent.update_step)]
    return GraphKey(tuple(due), agent.update_step % cfg.ema_every == 0, tuple(draws))


def noise_layout(agent: Any, key: GraphKey) -> dict[str, NoiseSpec]:
    """Lists all random numbers of an update, by name, in the order in which they are drawn."""
    cfg, horizon = agent.cfg, agent.horizon
    kind, size = policy_noise(agent.actions), agent.actions.size
    batch, (mine, _) = cfg.learning.batch, review_rows(cfg)
    found = dict(zip(("own", "mine", "theirs"), key.draws, strict=False))
    rows = {"learner": (batch, batch), "reviewer": (2 * batch, mine)}
    for role in agent.roles:
        seen, own = rows[role]
        found[f"{role}/next"] = NoiseSpec(kind, (horizon, seen, size))
        found[f"{role}/policy"] = NoiseSpec(kind, (horizon + 1, own, size))
    seen, _ = rows[agent.roles[-1]]
    for p in agent.protections:
        for name, spec in p.noise(p.name in key.due, seen).items():
            found[f"{p.name}/{name}"] = spec
    return found
