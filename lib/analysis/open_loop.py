"""What a world model imagines, beside what happens: open loop, with the real actions.

Letters: T steps, L numbers in an observation, A numbers in an action, Q numbers in a pose.
"""

from collections.abc import Iterator

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from torch import Tensor

from lib.core.errors import UserError
from lib.envs.api import Predict, Scene
from lib.plotting.charts import new_axes


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


def filmstrip(
    frames: ArrayLike,
    times: ArrayLike,
    count: int = 6,
    title: str = "",
    xlabel: str = "env step",
    ax: Axes | None = None,
) -> Axes:
    """Some pictures of a film side by side, for pages that play none.

    Args:
        frames: (T+1, height, width, 3) uint8.
        times: (T+1,) when each was taken.
        count: how many are shown, evenly spaced from the first to the last.

    Raises:
        UserError: no frames, or not as many times as frames.
    """
    frames, times = np.asarray(frames), np.asarray(times)
    if not len(frames) or len(frames) != len(times):
        raise UserError(f"{len(frames)} pictures and {len(times)} times; a strip needs one of each")
    count = max(1, min(count, len(frames)))
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    height, width = frames.shape[1:3]
    gap = max(1, width // 48)
    strip = np.full((height, count * (width + gap) - gap, 3), 255, np.uint8)
    for place, index in enumerate(chosen):
        left = place * (width + gap)
        strip[:, left : left + width] = frames[index]
    ax = new_axes(ax, (1.7 * count, 0.5 + 1.7 * height / width))
    ax.imshow(strip)
    centres = np.arange(count) * (width + gap) + (width - 1) / 2
    ax.set_xticks(centres, [f"{time:g}" for time in times[chosen]], fontsize=9)
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(xlabel, fontsize=10)
    ax.set_title(title, fontsize=11)
    return ax
