"""Tables list methods and sizes for dm_control seen as pictures, as differences from the defaults.

Sources: DreamerPro (Deng, Jang and Ahn, ICML 2022, arXiv 2110.14565) and its public code, with its
own DreamerV2 and TPC (Nguyen et al., ICML 2021, arXiv 2106.07156). "Plain" presets keep the suite's
sky and floor; "nat" ones show moving pictures there, generated ones unless the user has films
(`env.background folder:PATH`), so that returns are not comparable with the paper's.

In the code of the papers
- 15 imagined states include the first, which are 14 steps here;
- the actor is judged by the return of the state it acts in (`behaviour.credit current`);
- entropies, and the best action, are those of 100 samples (`behaviour.samples`);
- sequences begin anywhere in an episode with equal chances (`replay.slack 0`).
"""

from typing import Any

from lib.core.config import layered

# What Dreamer 1 does otherwise, sizes apart: a plain GRU, deviations by softplus, rectified
# convolutions, a KL that is not balanced (twice half of both sides) and free up to 3 nats, actors
# that begin wide and are not paid for entropy, critics without an older copy, noise on actions
# while collecting, and updates in bursts of 100.
V1: dict[str, Any] = {
    "latent": {"kind": "gaussian", "std": "softplus", "cell": "gru"},
    "network": {
        "convolution": "relu",
        "reward_layers": 2,
        "critic_layers": 3,
        "actor_shift": 4.993240,  # ln(e^5 - 1)
        "actor_min_std": 1e-4,
    },
    "objective": {
        "kl_scale": 2.0,
        "kl_balance": 0.5,
        "free_nats": 3.0,
        "discount_head": False,
        "reward": "identity",
    },
    "behaviour": {"entropy": 0.0, "slow_every": 1, "credit": "reached"},
    "explore": {"noise": 0.3},
    "update": {"burst": 100, "decay": 0.0},
}

METHODS: dict[str, dict[str, Any]] = {
    # Every row is what the method changes.
    "dreamer-pro": {"objective": {"representation": "prototypes"}},
    "tpc": {
        "objective": {"representation": "contrast", "kl_scale": 0.0},
        "latent": {"kind": "gaussian", "posterior": "embedding"},
    },
    "dreamer-redundancy": {"objective": {"representation": "redundancy"}},
    "dreamer-v1": V1,
    "tpc-original": layered(
        V1,
        {
            "objective": {"representation": "contrast", "kl_scale": 0.0},
            "latent": {"posterior": "embedding", "min_std": 0.0},
            # The consistency's weight is 0.06 at first and 0.1 from the last fifth of pretraining
            # on, which trains the model alone; critics are copied as each burst begins.
            "representation": {"contrast": {"warm_up": 5, "centring": 0.01, "rises": 5}},
            "behaviour": {"slow_every": 100, "slow_when": "before"},
            "update": {"pretrains": "model"},
        },
    ),
}

ABOUT = {
    "dreamer-pro": "DreamerPro: prototypes instead of a decoder",
    "tpc": "TPC: contrast between predicted and seen latents instead of a decoder",
    "dreamer-redundancy": "states and embeddings that agree number by number, no decoder",
    "dreamer-v1": "Dreamer 1, its losses, cell and schedule",
    "tpc-original": "TPC's own code, on Dreamer 1, as far as it differs from the later one",
}

PLAIN: dict[str, Any] = {
    "tasks": ["walker_run"],
    "env": {
        "domain": "dmc",
        "observation": "pixels",
        "episode_length": 1_000,
        "action_repeat": 2,
    },
    "budget": {
        "env_steps_per_task": 1_000_000,
        "eval_every": 10_000,
        "eval_episodes": 10,
        "report_every": 10_000,
        "checkpoint_every": 50_000,
    },
    "latent": {"kind": "gaussian", "variables": 32, "deter": 200, "hidden": 200},
    "objective": {"free_nats": 1.0, "discount_head": False, "reward": "identity"},
    "representation": {"prototypes": {"norm": 0.0}},
    "behaviour": {"horizon": 14, "entropy": 1e-4, "samples": 100, "credit": "current"},
    "update": {
        "batch": 50,
        "prefill": 5_000,
        "pretrain": 100,
        "model_lr": 3e-4,
        "actor_lr": 8e-5,
        "critic_lr": 8e-5,
    },
    "replay": {"capacity": 1_000_000, "min_length": 1, "slack": 0},
}
NATURAL: dict[str, Any] = {
    "env": {"background": "procedural:natural"},
    "objective": {"reward_scale": 1_000.0},
    "representation": {"prototypes": {"norm": 1.0}},
}
# Small networks and pictures of 32 pixels for one CPU core; what differs beside sizes:
# - a decision lasts 4 env steps, so that a short sequence and a short dream reach further;
# - an update every 8 env steps, rates three times as high, a slow critic that follows sooner: a
#   run has a seventeenth of the published steps;
# - noise on actions, as Dreamer 1 has it, and entropy that is paid for: at the published 1e-4
#   these actors are at the edges of the actions after two hundred updates;
# - prototypes learn from update 500 on.
QUICK: dict[str, Any] = {
    "tasks": ["walker_stand"],
    "env": {"image_size": 32, "render_quality": "fast", "action_repeat": 4},
    "budget": {
        "env_steps_per_task": 60_000,
        "eval_every": 4_000,
        "eval_episodes": 5,
        "report_every": 1_000,
        "checkpoint_every": 20_000,
    },
    "latent": {"variables": 16, "deter": 100, "hidden": 100},
    "network": {"depth": 16, "head_width": 128, "head_layers": 2},
    "representation": {"prototypes": {"shift": 1.5, "freeze": 500}},
    "behaviour": {"starts": 128, "samples": 1, "slow_every": 50, "entropy": 0.02},
    "explore": {"noise": 0.3},
    "update": {
        "batch": 16,
        "length": 16,
        "env_steps_per_update": 8,
        "prefill": 3_000,
        "model_lr": 1e-3,
        "actor_lr": 3e-4,
        "critic_lr": 3e-4,
    },
    "replay": {"capacity": 100_000},
}
WALKER: dict[str, Any] = {
    "tasks": ["walker_stand", "walker_walk", "walker_run"],
    "budget": {"eval_tasks": "all"},
}
# The same task before grounds that change: what is learnt of the body should carry over.
GROUNDS: dict[str, Any] = {
    "tasks": [
        {"name": f"walker_walk_{kind}", "task": "walker_walk", "background": f"procedural:{kind}"}
        for kind in ("texture", "rain", "natural")
    ],
    "budget": {"eval_tasks": "all"},
}
DEBUG: dict[str, Any] = {
    "env": {"episode_length": 100},
    "budget": {
        "env_steps_per_task": 600,
        "eval_every": 300,
        "eval_episodes": 2,
        "report_every": 100,
    },
    "latent": {"variables": 5, "deter": 20, "hidden": 20},
    "network": {"depth": 4, "head_width": 32},
    "representation": {"prototypes": {"size": 8}},
    "behaviour": {"horizon": 4, "starts": 16},
    "update": {"batch": 4, "length": 10, "prefill": 200, "pretrain": 1},
}

PRESETS: dict[str, dict[str, Any]] = {
    "dmc-full": PLAIN,
    "nat-full": layered(PLAIN, NATURAL),
    # Each method's update costs as much arithmetic as Dreamer's, 2.0 TFLOP, by smaller batches.
    "dmc-equal-compute": PLAIN,
    "dmc-quick": layered(PLAIN, QUICK),
    "nat-quick": layered(PLAIN, NATURAL, QUICK),
    "walker-pixels-full": layered(PLAIN, WALKER),
    "walker-pixels-quick": layered(PLAIN, QUICK, WALKER),
    "grounds-full": layered(PLAIN, NATURAL, GROUNDS),
    "grounds-quick": layered(PLAIN, NATURAL, QUICK, GROUNDS),
    "dmc-debug": layered(PLAIN, QUICK, DEBUG),
}

_OF_V1: dict[str, Any] = {
    "latent": {"variables": 30},
    "network": {"depth": 32},
    "behaviour": {"horizon": 15},
    "update": {"model_lr": 6e-4, "epsilon": 1e-7},
}
_PUBLISHED = {
    "dreamer-pro": {"update": {"length": 51}},
    "tpc": {"update": {"batch": 150}},
    "dreamer-v1": _OF_V1,
    # Imagination begins in all states of 50 of the 250 sequences.
    "tpc-original": layered(
        _OF_V1, {"update": {"batch": 250, "pretrain": 2_000}, "behaviour": {"sequences": 50}}
    ),
}
_EQUAL = {  # 2.8 and 3.6 TFLOP at the published batches
    "dreamer-pro": {"update": {"batch": 36, "length": 51}},
    "tpc": {"update": {"batch": 83}},
}
_SMALL = {
    "tpc": {"update": {"batch": 32}},
    # As many states as the others begin in: all of a quarter of the sequences.
    "tpc-original": {"update": {"batch": 32}, "behaviour": {"starts": 0, "sequences": 8}},
}
# What a method's sizes are in a preset, where they differ from those of other methods.
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    **dict.fromkeys(("dmc-full", "nat-full", "walker-pixels-full", "grounds-full"), _PUBLISHED),
    "dmc-equal-compute": _EQUAL,
    **dict.fromkeys(("dmc-quick", "nat-quick", "walker-pixels-quick", "grounds-quick"), _SMALL),
}
