"""Tables list methods and sizes as differences from the defaults of `lib.algos.dreamer.settings`.

Those defaults are Continual-Dreamer's settings on MiniGrid. Source: Kessler et al., CoLLAs 2023
(arXiv 2211.15944), and its public code.
"""

from typing import Any

from lib.algos.dreamer import pixel_presets, source_presets
from lib.core.config import layered

PLAN2EXPLORE: dict[str, Any] = {"explore": {"bonus": "plan2explore"}}
# What the paper ran on MiniHack with exploration: pixels alone shape the latent, and the policy
# that explores is the one that is evaluated.
PIXELS_ONLY: dict[str, Any] = {
    "explore": {"bonus": "plan2explore", "evaluate": "acting"},
    "objective": {"discount_head": False, "reward_shapes": False},
}


RESERVOIR: dict[str, Any] = {"replay": {"retention": "reservoir"}}
RECENT: dict[str, Any] = {"replay": {"sampling": "recent"}}

METHODS: dict[str, dict[str, Any]] = {
    # Every row is what the method changes.
    "dreamer": {},
    "dreamer-p2e": PLAN2EXPLORE,
    "dreamer-p2e-pixels": PIXELS_ONLY,
    "dreamer-visits": {"explore": {"bonus": "visits"}},
    "dreamer-random-evict": {"replay": {"retention": "random-evict"}},
    "dreamer-recent": RECENT,
    "dreamer-coverage": {"replay": {"retention": "coverage"}},
    "dreamer-reward": {"replay": {"sampling": "reward"}},
    "dreamer-uncertainty": layered(PLAN2EXPLORE, {"replay": {"sampling": "uncertainty"}}),
    "continual-dreamer": RESERVOIR,
    "continual-dreamer-p2e": layered(RESERVOIR, PLAN2EXPLORE),
    "continual-dreamer-p2e-pixels": layered(RESERVOIR, PIXELS_ONLY),
    "continual-dreamer-recent": layered(RESERVOIR, RECENT),
    "continual-dreamer-rehearsal": layered(RESERVOIR, {"rehearsal": {"weight": 1.0}}),
    "continual-dreamer-cloning": layered(RESERVOIR, {"cloning": {"weight": 1.0}}),
    "scratch": {"boundary": {"carry": "nothing"}},
    **pixel_presets.METHODS,
}

ABOUT = {
    "dreamer": "DreamerV2, the newest episodes kept",
    "dreamer-p2e": "DreamerV2 that explores where its ensemble disagrees (Plan2Explore)",
    "dreamer-p2e-pixels": "the same, latents shaped by observations alone, the explorer evaluated",
    "dreamer-visits": "DreamerV2 with a bonus for rarely visited cells",
    "dreamer-random-evict": "DreamerV2 with the published code's reservoir, which is none",
    "dreamer-recent": "DreamerV2, half of the draws favouring recent episodes",
    "dreamer-coverage": "DreamerV2, the episodes kept that differ most from each other",
    "dreamer-reward": "DreamerV2, episodes of high return drawn more often",
    "dreamer-uncertainty": "Plan2Explore, episodes that surprised the ensemble drawn more often",
    "continual-dreamer": "DreamerV2 with a reservoir: every episode equally likely to be kept",
    "continual-dreamer-p2e": "the same with Plan2Explore",
    "continual-dreamer-p2e-pixels": "the same, latents shaped by observations alone",
    "continual-dreamer-recent": "a reservoir, half of the draws favouring recent episodes",
    "continual-dreamer-rehearsal": "a reservoir, its actor imitates its best dreams of old tasks",
    "continual-dreamer-cloning": "a reservoir, its actor repeats what it did well in old tasks",
    "scratch": "a new DreamerV2 for every task: what transfer is measured against",
    **pixel_presets.ABOUT,
}

MINIGRID3 = ["doorkey-8x8", "lavacrossing-s9n1", "simplecrossing-s9n1"]
MINIHACK4 = ["room-random-15x15", "room-trap-15x15", "river-narrow", "river-monster"]
MINIHACK8 = [
    "room-random-15x15",
    "room-monster-15x15",
    "room-trap-15x15",
    "room-ultimate-15x15",
    "river-narrow",
    "river",
    "river-monster",
    "hidenseek",
]
EVALUATION = {"eval_tasks": "all", "eval_episodes": 10, "report_every": 1_000}

MINIGRID: dict[str, Any] = {
    "tasks": MINIGRID3,
    "env": {"domain": "minigrid", "observation": "pixels", "episode_length": 100},
    "budget": {
        "env_steps_per_task": 750_000,
        "eval_every": 10_000,
        "checkpoint_every": 50_000,
        **EVALUATION,
    },
}
MINIHACK: dict[str, Any] = {
    "tasks": MINIHACK4,
    "env": {"domain": "minihack", "observation": "pixels", "episode_length": 100},
    "budget": {
        "env_steps_per_task": 1_000_000,
        "eval_every": 50_000,
        "checkpoint_every": 50_000,
        **EVALUATION,
    },
    "latent": {"norm": "layer"},
    "behaviour": {"entropy": 2e-3},
    "update": {"actor_lr": 1e-4, "critic_lr": 1e-4},
    "replay": {"capacity": 1_000_000},
}
# The symbolic view, and networks that one CPU core carries at 50 ms an update. A run makes a
# thirtieth of the published steps, so that some numbers differ:
# - the replay holds as much as one task lasts: while the third is learnt, the newest-first rule has
#   nothing left of the first;
# - rewards are so rare that the reward head's error, added up over 1 / (1 - discount)
#   steps, outweighs them: rewards weigh more in the loss, and the discount is smaller;
# - a small bonus for rarely entered cells, as in the published run with `state_bonus`: acting at
#   random reaches the first task's goal in one episode of 75;
# - hidden layers of the RSSM are normalised, as on MiniHack: without that the posterior of a world
#   so small becomes certain of everything, its gradients vanish, and the views of a later task can
#   no longer be told apart;
# - learning rates are higher, the slow critic follows sooner, and no episode is too short to keep.
MINIGRID_QUICK: dict[str, Any] = {
    "tasks": ["doorkey-5x5", "lavagap-s5", "empty-random-5x5"],
    "env": {"domain": "minigrid", "observation": "symbols", "episode_length": 100},
    "budget": {
        "env_steps_per_task": 24_000,
        "parallel_envs": 8,
        "eval_every": 3_000,
        "eval_episodes": 10,
        "eval_tasks": "all",
        "report_every": 1_000,
        "checkpoint_every": 12_000,
    },
    "latent": {"variables": 8, "classes": 8, "deter": 128, "hidden": 128, "norm": "layer"},
    "network": {"code_width": 128, "code_layers": 2, "head_width": 128, "head_layers": 2},
    "objective": {"reward_scale": 50.0},
    "behaviour": {
        "discount": 0.97,
        "horizon": 10,
        "starts": 64,
        "entropy": 5e-3,
        "slow_every": 25,
    },
    "explore": {"bonus": "visits", "visits": 0.2, "members": 5},
    "update": {
        "batch": 16,
        "length": 16,
        "env_steps_per_update": 4,
        "prefill": 4_000,
        "pretrain": 200,
        "model_lr": 1e-3,
        "actor_lr": 3e-4,
        "critic_lr": 1e-3,
    },
    "replay": {"capacity": 24_000, "min_length": 1},
}
# The published script reads MiniHack's parser, which evaluates the policy that collects, sampled.
# With Plan2Explore its pictures alone shape the latents: method `dreamer-p2e-pixels`. Whether that
# parser's layer norm, entropy 2e-3 and learning rates 1e-4 applied too cannot be told.
FOUR_ROOMS: dict[str, Any] = layered(
    MINIGRID,
    {
        "tasks": ["fourrooms-a", "fourrooms-b"],
        "budget": {"env_steps_per_task": 1_000_000},
        "explore": {"evaluate": "acting"},
    },
)

PRESETS: dict[str, dict[str, Any]] = {
    "minigrid3-full": MINIGRID,
    "minigrid3-quick": MINIGRID_QUICK,
    "minihack4-full": MINIHACK,
    "minihack8-full": layered(MINIHACK, {"tasks": MINIHACK8, "replay": {"capacity": 2_000_000}}),
    # One easy task, then a hard one six times as long, with room for the first alone.
    "imbalance-full": layered(
        MINIHACK,
        {
            "tasks": ["room-random-15x15", "river-narrow"],
            "budget": {"env_steps_per_task": 400_000, "lengths": [1, 6]},
            "replay": {"capacity": 400_000},
        },
    ),
    # The same walls, start and heading, another goal: what is learnt of one contradicts the other.
    "interference-full": FOUR_ROOMS,
    # Trained on other layouts as well, the first pair's interference can be told from forgetting.
    "interference-random-full": layered(
        FOUR_ROOMS, {"tasks": ["fourrooms-random", "fourrooms-a", "fourrooms-b"]}
    ),
    # Everything small: does it run? See also `lib.experiments.custom_env`.
    "debug": layered(
        MINIGRID_QUICK,
        {
            "tasks": ["doorkey-5x5"],
            "budget": {
                "env_steps_per_task": 600,
                "parallel_envs": 2,
                "eval_every": 300,
                "eval_episodes": 2,
                "report_every": 100,
            },
            "latent": {"variables": 4, "classes": 4, "deter": 32, "hidden": 32},
            "network": {"depth": 4, "code_width": 32, "head_width": 32},
            "objective": {"reward_scale": 1.0},
            "behaviour": {"horizon": 5, "starts": 16},
            "explore": {"bonus": "none"},
            "update": {"batch": 4, "length": 8, "prefill": 200, "pretrain": 1},
        },
    ),
    **pixel_presets.PRESETS,
    **source_presets.PRESETS,
}

# What a method's sizes are in a preset, where they differ from those of other methods.
SIZES = {**pixel_presets.SIZES, **source_presets.SIZES}
