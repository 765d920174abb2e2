"""What a world model imagines, beside what happens: open loop, with the real actions.

Letters: T steps, L numbers in an observation, A numbers in an action, Q numbers in a pose.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lib.core.errors import UserError
from lib.core.plans import phantoms, told_steps
from lib.envs.api import Outcomes, Predict, Scene
from lib.replay.buffer import Episodes


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


@torch.no_grad()
def audit_windows(
    outcomes: Outcomes, episodes: Episodes, horizon: int, discount: float, task: str
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Examines what was expected of the actions of whole episodes, in windows of h decisions.

    Args:
        outcomes: the world model and the task's reward.
        episodes: E episodes of T >= h decisions, of any world.

    Returns:
        Flat metrics `plans/<task>/<metric>`: `unexplained_K`, the squared error after K decisions
        as a share of the variance of the change until then; the mean `excess` of the promised
        discounted return over the paid one; and the share of windows in which it is a phantom's.
        And the array `unexplained` (h,).
    """
    windows = episodes.action.shape[1] // horizon
    if not windows:
        return {}, {}
    used = windows * horizon
    actions = episodes.action[:, :used].unflatten(1, (windows, horizon)).flatten(0, 1)  # (n, h, A)
    reward = episodes.reward[:, :used].unflatten(1, (windows, horizon)).flatten(0, 1)  # (n, h)
    start = torch.arange(0, used, horizon, device=actions.device)
    index = start.unsqueeze(1) + torch.arange(horizon + 1, device=actions.device)  # (windows, h+1)
    truth = episodes.obs[:, index].flatten(0, 1).double()  # (n, h+1, L)
    expected, promised = outcomes(truth[:, 0].to(episodes.obs.dtype), actions)
    error = (expected.double() - truth).square().mean(0).sum(-1)[1:]  # (h,)
    change = (truth - truth[:, :1])[:, 1:].var(0, correction=0).sum(-1)  # (h,)
    unexplained = (error / change.clamp_min(1e-12)).cpu().numpy()
    gammas = discount ** torch.arange(horizon, dtype=torch.float64, device=actions.device)
    sums = [(part.double() * gammas).sum(1).cpu().numpy() for part in (promised, reward)]
    metrics = {f"unexplained_{k}": float(unexplained[k - 1]) for k in told_steps(horizon)}
    metrics |= {
        "excess": float((sums[0] - sums[1]).mean()),
        "phantom_share": float(phantoms(*sums, sums[1].max()).mean()),
    }
    named = {f"plans/{task}/{name}": value for name, value in metrics.items()}
    return named, {"unexplained": unexplained.astype(np.float32)}
