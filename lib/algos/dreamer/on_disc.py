"""World models learn the disc of `lib.envs.disc`, and a probe asks where they think it is.

Networks are small enough for one CPU core: 0.1 seconds an update.

Letters: E episodes, T steps, F features.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.algos.dreamer import audit, objectives
from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.run_settings import DreamerRun
from lib.core import metrics
from lib.core.config import from_dict, layered
from lib.core.errors import unknown
from lib.core.seeding import Streams, generator
from lib.envs import disc
from lib.replay.buffer import Episodes

SMALL: dict[str, Any] = {
    "env": {"episode_length": disc.STEPS, "image_size": disc.SIDE},
    "latent": {"kind": "gaussian", "variables": 16, "deter": 100, "hidden": 100},
    "network": {"depth": 16, "head_width": 128, "head_layers": 2},
    # Free nats, balance and heads are DreamerV2's on dm_control, as DreamerPro runs it.
    "objective": {"free_nats": 1.0, "discount_head": False, "reward": "identity"},
    # 400 updates instead of 100,000 ask for a higher learning rate than the published 3e-4.
    "update": {"batch": 16, "length": 16, "model_lr": 1e-3},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "reconstruction": {},
    "prototypes": {
        "representation": {
            "prototypes": {
                "count": 240,  # as many as the samples of a batch, 16 rows of 15 records
                "shift": 1.5,  # half of the published pixels for half of the side
                "freeze": 40,  # a tenth of 400 updates, as 10,000 are of the published 99,600
            }
        }
    },
    "contrast": {
        "objective": {"kl_scale": 0.0},
        "latent": {"posterior": "embedding"},
        "update": {"batch": 32},  # what a latent has to be told apart from
    },
}


def configured(objective: str, reward_scale: float, seed: int) -> DreamerRun:
    """Returns the settings of a world model for the disc.

    Args:
        objective: one of `OBJECTIVES`.
        reward_scale: weight of the reward's loss; the published runs take 1 on plain and 1,000 on
            moving backgrounds.
        seed: of networks and batches.

    Raises:
        UserError: no such objective.
    """
    if objective not in OBJECTIVES:
        raise unknown("objective of the disc", objective, OBJECTIVES)
    # Published runs hold projections at length 1 where rho is 1,000, and nowhere else.
    norm = {"representation": {"prototypes": {"norm": float(reward_scale > 1)}}}
    own = {"objective": {"representation": objective, "reward_scale": reward_scale}, "seed": seed}
    cfg = from_dict(DreamerRun, layered(SMALL, norm, OBJECTIVES[objective], own))
    objectives.KNOWN[objective].check(cfg)
    return cfg


def new_agent(cfg: DreamerRun, episodes: disc.DiscEpisodes) -> DreamerAgent:
    """Returns an agent that has learnt nothing yet and whose replay holds the episodes."""
    device = torch.device("cpu")
    agent = DreamerAgent(cfg, disc.SPACE, disc.ACTIONS, Streams(cfg.seed, device), device)
    agent.begin_task(0)
    agent.store("learner", Episodes(episodes.obs, episodes.action, episodes.reward))
    return agent


def features(agent: DreamerAgent, episodes: disc.DiscEpisodes) -> Tensor:
    """Returns posterior states of whole episodes, filtered from their beginnings: (E, T+1, F)."""
    model, draws = agent.module("model"), generator(agent.cfg.seed, "disc-features")
    obs, action = episodes.obs.transpose(0, 1), episodes.action.transpose(0, 1)
    state, _, _ = audit.observe(model, obs, action, draws)
    return model.rssm.features(state).transpose(0, 1)


def probe_position(
    agent: DreamerAgent, train: disc.DiscEpisodes, test: disc.DiscEpisodes
) -> np.ndarray:
    """Returns how well a linear probe of the states knows where the disc is: R^2 of x and y, (2,).

    Args:
        train: what the probe is fitted on. test: what it is asked about.
    """
    samples = []
    for episodes in (train, test):
        samples += [features(agent, episodes).flatten(0, 1), episodes.position.flatten(0, 1)]
    return metrics.linear_probe(*samples)
