"""The learning rate of pre-training rises, and falls along a cosine."""

import math

from lib.algos.decision_transformer.settings import PretrainConfig


def rate_at(update: int, updates: int, cfg: PretrainConfig) -> float:
    """Returns the rate of an update, counted from 0, of so many.

    Source: L2M's release, a linear warm-up and a cosine over the whole of pre-training.
    """
    if update < cfg.warm_up:
        return cfg.rate * (update + 1) / cfg.warm_up
    done = (update - cfg.warm_up) / max(1, updates - cfg.warm_up)
    return cfg.last_rate + (cfg.rate - cfg.last_rate) * (1 + math.cos(math.pi * min(1, done))) / 2
