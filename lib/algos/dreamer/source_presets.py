"""Tables list sizes for transfer from several source tasks, as differences from the defaults.

Source: Sasso, Sabatelli and Wiering (TMLR 2023, arXiv 2205.14410) and their code, which is Dreamer
1 on PyBullet seen as pictures; the method is `dreamer-v1`. The torque pendulums are ours.
"""

from typing import Any

from lib.core.config import layered

SHARED: dict[str, Any] = {
    "latent": {"kind": "gaussian"},
    "objective": {"discount_head": False, "reward": "identity"},
    "replay": {"min_length": 1, "slack": 0},
}
# Three torque pendulums with other dynamics, goals and numbers of actions, seen as three numbers:
# a target takes under a minute on one CPU core. A source run makes 10,000 env steps over both
# sources. Updates come in bursts of 25 for every episode of 200 env steps.
QUICK: dict[str, Any] = layered(
    SHARED,
    {
        "tasks": ["target"],
        "env": {
            "domain": "pendulum",
            "observation": "state",
            "episode_length": 200,
            "action_repeat": 2,
        },
        "budget": {
            "env_steps_per_task": 5_000,
            "eval_every": 500,
            "eval_episodes": 5,
            "report_every": 500,
            "checkpoint_every": 2_500,
        },
        "latent": {"variables": 8, "deter": 64, "hidden": 64},
        "network": {"code_width": 64, "code_layers": 2, "head_width": 64},
        # Three numbers say little beside the KL: squared errors, the reward's too, weigh more.
        "objective": {"free_nats": 1.0, "reward_scale": 5.0},
        "representation": {"reconstruction": {"scale": 5.0}},
        "behaviour": {"horizon": 10},
        "update": {
            "batch": 16,
            "length": 16,
            "env_steps_per_update": 8,
            "prefill": 600,  # three episodes
            "pretrain": 50,
            "model_lr": 6e-4,
            "actor_lr": 3e-4,
            "critic_lr": 3e-4,
        },
        "replay": {"capacity": 10_000},
    },
)
# A pole on a cart swings up, one of PyBullet's bodies seen as five numbers: with the networks above
# a target takes three minutes on one CPU core. Updates come in bursts of 100 for every episode of
# 1,000 env steps, as published.
MEDIUM: dict[str, Any] = layered(
    QUICK,
    {
        "tasks": ["InvertedPendulumSwingup"],
        "env": {"domain": "bullet", "episode_length": 1_000, "action_repeat": 4},
        "budget": {
            "env_steps_per_task": 30_000,
            "eval_every": 2_000,
            "report_every": 2_000,
            "checkpoint_every": 10_000,
        },
        "objective": {"reward_scale": 1.0},
        "update": {"env_steps_per_update": 10, "prefill": 3_000},
        "replay": {"capacity": 100_000},
    },
)
# PyBullet's bodies as pictures, Dreamer 1's sizes. As its authors ran it, but evaluated every
# 10,000 env steps (theirs after every episode), and short episodes padded, which theirs never drew.
FULL: dict[str, Any] = layered(
    SHARED,
    {
        "tasks": ["HalfCheetah"],
        "env": {
            "domain": "bullet",
            "observation": "pixels",
            "episode_length": 1_000,
            "action_repeat": 2,
        },
        "budget": {
            "env_steps_per_task": 1_000_000,
            "eval_every": 10_000,
            "eval_episodes": 5,
            "report_every": 10_000,
            "checkpoint_every": 50_000,
        },
        "latent": {"variables": 30, "deter": 200, "hidden": 200},
        "network": {"depth": 32},
        "behaviour": {"samples": 100},
        "update": {
            "batch": 50,
            "prefill": 5_000,  # five episodes that last; of sources theirs is one for each
            "pretrain": 100,
            "model_lr": 6e-4,
            "critic_lr": 8e-5,
            "epsilon": 1e-7,
        },
        "replay": {"capacity": 1_000_000, "pad": True},
    },
)
PRESETS: dict[str, dict[str, Any]] = {
    "sources-quick": QUICK,
    "sources-medium": MEDIUM,
    "sources-full": FULL,
}

# What Dreamer 1's row would set otherwise.
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "sources-quick": {
        "dreamer-v1": {
            "objective": {"free_nats": 1.0},
            "update": {"burst": 25, "epsilon": 1e-7},
        }
    },
    "sources-medium": {
        "dreamer-v1": {"objective": {"free_nats": 1.0}, "update": {"epsilon": 1e-7}}
    },
}
