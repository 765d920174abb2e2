"""Evaluations of a world begin where nobody trains."""

import torch

from lib.envs.gym.batch import GymBatch, Recipe


class DisjointBatch(GymBatch):
    """Draws odd seeds to evaluate and even ones to train, so that no start of one is the other's.

    Args:
        evaluates: draw seeds of evaluation.

    See `GymBatch` for the rest.
    """

    def __init__(
        self, recipe: Recipe, episode_length: int, evaluates: bool, device: torch.device | str
    ):
        self.evaluates = evaluates
        super().__init__(recipe, episode_length, device)

    def _seeds(self, n: int, generator: torch.Generator) -> list[int]:
        return [seed // 2 * 2 + self.evaluates for seed in super()._seeds(n, generator)]
