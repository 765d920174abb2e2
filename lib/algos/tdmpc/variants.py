"""What the host decides about an update, and the random numbers that such an update takes.

Shapes: H steps of a window, B windows, L observation, A action, D dreams.
"""

from typing import Any, NamedTuple

from lib.algos.tdmpc.model import policy_noise
from lib.algos.tdmpc.pieces import review_rows
from lib.core.noise import NoiseSpec


class Variant(NamedTuple):
    """Updates of one variant are the same sequence of operations."""

    rehearses: bool
    follows: bool  # the target critics move
    draws: tuple[NoiseSpec, ...]  # how each role's windows are drawn


def variant(agent: Any) -> Variant:
    """What an agent's next update will be like."""
    cfg, learner = agent.cfg.learning, agent.learner.buffer
    mine, rest = review_rows(agent.cfg)
    draws = [learner.draw(cfg.batch)]
    if agent.reviewer:
        draws.append(agent.reviewer.buffer.draw(mine))
        if rest > cfg.batch:
            draws.append(learner.draw(rest))
    follows = agent.updates % cfg.ema_every == 0
    return Variant(agent.retention.due(agent.updates), follows, tuple(draws))


def layout(agent: Any, variant: Variant) -> dict[str, NoiseSpec]:
    """All random numbers of an update, by name, in the order in which they are drawn."""
    cfg, horizon = agent.cfg, agent.horizon
    kind, size = policy_noise(agent.actions), agent.actions.size
    batch, code, (mine, _) = cfg.learning.batch, cfg.vae.code, review_rows(cfg)
    found = dict(zip(("own", "mine", "theirs"), variant.draws, strict=False))
    rows = {"learner": (batch, batch), "reviewer": (2 * batch, mine)}
    for role in agent.roles:
        seen, own = rows[role]
        found[f"{role}/next"] = NoiseSpec(kind, (horizon, seen, size))
        found[f"{role}/policy"] = NoiseSpec(kind, (horizon + 1, own, size))
    dreams, old = cfg.rehearsal.dreams, agent.retention.old_vae is not None
    if agent.retention.dreams:
        seen = rows[agent.roles[-1]][0] + (dreams if old else 0)
        found["vae/noise"] = NoiseSpec("normal", (seen, code))
        if old:
            found["vae/dreams"] = NoiseSpec("normal", (dreams, code))
    if variant.rehearses:
        if cfg.method.rehearse == "stored":
            found["rehearsal"] = NoiseSpec("uniform", (dreams,))
        else:
            found["rehearsal"] = NoiseSpec("normal", (dreams, code))
    return found
