"""Episodes that are too short for a training sequence go on standing still.

Letters: E episodes, T actions of the longest, L actions of a training sequence, A action size.
"""

import torch
from torch import Tensor

from lib.replay.buffer import Episodes


def padded(episodes: Episodes, least: int) -> Episodes:
    """Returns episodes in which those that the world ended have L actions at least.

    Their last observation is repeated, with actions and rewards of 0. Returns stay as they are,
    and so do episodes that were cut: what follows them is not known.

    Args:
        episodes: of any lengths; changed nowhere.
        least: L.

    Source: ours. The code of Sasso et al. 2023 draws no sequence from an episode without L + 1
    records, so that tasks which end sooner are never learnt from.
    """
    if episodes.length is None or episodes.terminal is None:
        return episodes
    count, steps = episodes.reward.shape
    device = episodes.reward.device
    length, terminal = episodes.length.to(device), episodes.terminal.to(device)
    longest = max(steps, least)
    at = torch.arange(longest + 1, device=device).minimum(length[:, None])  # (E, T+1)
    row = torch.arange(count, device=device)[:, None]
    lasts = torch.arange(longest, device=device) < length[:, None]  # (E, T)

    def extended(part: Tensor) -> Tensor:
        """(E, T, ...) with zeros from an episode's end on."""
        zeros = part.new_zeros(count, longest - steps, *part.shape[2:])
        whole = torch.cat((part, zeros), 1)
        keeps = lasts.view(*lasts.shape, *(1,) * (part.dim() - 2))
        return torch.where(keeps, whole, torch.zeros_like(whole))

    cell = episodes.cell
    if cell is not None:
        cell = cell[row.to(cell.device), at.to(cell.device)]
    return episodes._replace(
        obs=episodes.obs[row, at],
        action=extended(episodes.action),
        reward=extended(episodes.reward),
        length=torch.where(terminal, length.clamp_min(least), length),
        cell=cell,
    )
