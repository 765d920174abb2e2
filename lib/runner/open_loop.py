"""What a world model imagines, beside what happens: open loop, with the real actions.

Letters: T steps, L numbers in an observation, A numbers in an action, Q numbers in a pose.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lib.core.errors import UserError
from lib.envs.api import Predict, Scene


@torch.no_grad()
def open_loop(predict: Predict, obs0: Tensor, actions: Tensor) -> Tensor:
    """Lets a world model run on its own predictions.

    Args:
        predict: one step for n copies, (n, L) and (n, A) to (n, L).
        obs0: (..., L) real observations to start from.
        actions: (..., T, A) the actions really taken from there on.

    Returns:
        (..., T+1, L) what the model expects to see; the first is `obs0` itself.

    Raises:
        ValueError: the leading dimensions disagree.
    """
    if obs0.shape[:-1] != actions.shape[:-2]:
        raise ValueError(
            f"obs0 {tuple(obs0.shape)} and actions {tuple(actions.shape)}: "
            f"all but (L,) and (T, A) must agree"
        )
    obs = obs0.reshape(-1, obs0.shape[-1])  # (n, L)
    steps = actions.reshape(len(obs), *actions.shape[-2:])  # (n, T, A)
    seen = [obs]
    for action in steps.unbind(1):
        obs = predict(obs, action)
        seen.append(obs)
    return torch.stack(seen, 1).reshape(*obs0.shape[:-1], len(seen), obs0.shape[-1])


def restarted(predict: Predict, obs: Tensor, actions: Tensor, every: int) -> Iterator[Tensor]:
    """An episode imagined in pieces, each starting from what really was.

    Args:
        obs: (T+1, L) of a real episode. actions: (T, A) taken in it.
        every: decisions that a piece lasts.

    Yields:
        (k+1, L) for each piece of k decisions, the first of them real.
    """
    for start in range(0, len(actions), every):
        yield open_loop(predict, obs[start], actions[start : start + every])


def imagined_versus_real(
    scene: Scene, real_poses: ArrayLike, ghost_poses: ArrayLike
) -> list[np.ndarray]:
    """Pictures of an episode with the imagined one as a ghost in them.

    Args:
        scene: draws both; its camera follows the real body.
        real_poses, ghost_poses: (T+1, Q).

    Returns:
        T+1 pictures (height, width, 3) uint8.

    Raises:
        UserError: not as many of one as of the other.
    """
    real, ghosts = np.asarray(real_poses), np.asarray(ghost_poses)
    if len(real) != len(ghosts):
        raise UserError(
            f"{len(real)} real poses and {len(ghosts)} imagined ones; give one of each per picture"
        )
    return [scene.frame(pose, ghost) for pose, ghost in zip(real, ghosts, strict=True)]
