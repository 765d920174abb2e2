"""The reviewer is paid for what the old dynamics knew, and learns from its windows and others.

Source: DRAGO (arXiv 2503.04256), section 4.2 and the method figure.

Shapes: H steps of a window, B windows, L observation size, A action size.
"""

from torch import Tensor

from lib.algos.tdmpc.model import Dynamics
from lib.algos.tdmpc.settings import ReviewerConfig, TdmpcRun
from lib.core import losses
from lib.replay.buffer import Windows, join


def review_rows(cfg: TdmpcRun) -> tuple[int, int]:
    """Counts the rows of a reviewer's update from its own replay, and from the learner's."""
    both = 2 * cfg.learning.batch
    mine = max(1, round(both * cfg.reviewer.ratio))
    return mine, both - mine


def review_parts(
    dynamics: Dynamics,
    old: Dynamics,
    obs: Tensor,
    action: Tensor,
    next_obs: Tensor,
    threshold: Tensor,
    cfg: ReviewerConfig,
) -> tuple[Tensor, Tensor]:
    """Returns the reviewer's two terms for real transitions: (..., L) to a pair of (...)."""
    error = [losses.model_error(m(obs, action), next_obs, cfg.norm) for m in (old, dynamics)]
    return losses.review_parts(
        error[0], error[1], threshold, sharpness=cfg.sharpness, cost=cfg.cost, shape=cfg.shape
    )


def relabelled(
    batch: Windows, dynamics: Dynamics, old: Dynamics, threshold: Tensor, cfg: ReviewerConfig
) -> Windows:
    """Returns the windows with the review reward in place of the task's."""
    args = (batch.obs[:-1], batch.action, batch.obs[1:], threshold, cfg)
    known, cost = review_parts(dynamics, old, *args)
    return batch._replace(reward=known - cost)


def review_batch(
    dynamics: Dynamics,
    old: Dynamics,
    threshold: Tensor,
    mine: Windows,
    theirs: Windows | None = None,
    *,
    cfg: ReviewerConfig,
) -> Windows:
    """Joins the reviewer's windows and the learner's, the latter with the review reward."""
    if cfg.relabel:
        mine = relabelled(mine, dynamics, old, threshold, cfg)
    if theirs is None:
        return mine
    return join(mine, relabelled(theirs, dynamics, old, threshold, cfg))
