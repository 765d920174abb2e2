"""Methods and sizes as tables of differences from the defaults in `lib.config`."""

from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    # Every row is what the method changes; see MethodConfig for the meaning of a value.
    "scratch": {"carry": "nothing"},
    "tdmpc": {},  # continual TD-MPC: the world model goes on, nothing protects it
    "ewc": {"ewc": 1.0e4},
    "curiosity": {"curiosity": 1.0},
    "stored-replay": {"rehearse": "stored"},  # real transitions, as many bytes as the VAE
    "pseudo-rehearsal": {"rehearse": "dreams", "train_vae": "first-task"},
    "drago": {"rehearse": "dreams", "train_vae": "always", "review": True},
    "drago-no-rehearsal": {"review": True},
    "drago-no-review": {"rehearse": "dreams", "train_vae": "always"},
    "multitask": {"rehearse": "stored", "memory": "everything"},  # upper bound
}

ABOUT = {
    "scratch": "a new world model for every task",
    "tdmpc": "the world model carries over, nothing protects it",
    "ewc": "elastic weight consolidation on the world model",
    "curiosity": "prediction error as a bonus in the value target",
    "stored-replay": "rehearsal on real transitions, as many bytes as the VAE",
    "pseudo-rehearsal": "rehearsal on dreams of a VAE trained in the first task only",
    "drago": "rehearsal on dreams, and a reviewer that walks back to known states",
    "drago-no-rehearsal": "DRAGO's reviewer alone",
    "drago-no-review": "DRAGO's rehearsal alone",
    "multitask": "rehearsal on every earlier transition: an upper bound",
}

FOUR_ROOMS = ["room-1", "room-2", "room-3", "room-4"]

# Four rooms of 13 x 13 cells, with networks and searches that one CPU core carries. What is not
# named keeps the published value, among them the 512 dreams of a rehearsal. Why some differ:
# - a quarter of a task is random warm-up, so that goals are found before planning starts;
# - targets follow at every 8th update (published: every 40th, over far more updates): followed
#   faster, the values outrun the policy and returns collapse now and then;
# - learning rates fall by half over a task, so that it rarely ends in one of Adam's spikes; falling
#   to a tenth they leave the learners of later tasks too slow;
# - of the transitions that the agent met, a generator trained at the published beta of 1 dreams a
#   third in this world, at 0.1 more than four fifths.
SMALL_GRID: dict[str, dict[str, Any]] = {
    "env": {"size": 13, "episode_length": 50},
    "model": {"width": 96},
    "planner": {
        "horizon": [6],
        "samples": 128,
        "elites": 16,
        "iterations": 3,
        "horizon_ramp": 1_600,
    },
    "learning": {"batch": 128, "lr_end": 0.5, "ema_every": 8, "seed_steps": 1_600},
    "vae": {"beta": 0.1},
}

PRESETS: dict[str, dict[str, Any]] = {
    # The published MiniGrid settings are the defaults of lib.config.
    "grid-full": {"tasks": FOUR_ROOMS},
    # The same world and methods, shrunk until two CPU cores are enough.
    "grid-quick": {
        "tasks": FOUR_ROOMS,
        **SMALL_GRID,
        "budget": {
            "env_steps_per_task": 6_400,
            "parallel_envs": 8,
            "eval_every": 1_600,
            "eval_episodes": 8,
            "checkpoint_every": 1_600,
        },
    },
    # The authors' logged transfer run: a trained world model, no review, no rehearsal, no
    # random warm-up.
    "grid-transfer": {
        "tasks": ["room-1to2"],
        "budget": {"env_steps_per_task": 20_000, "eval_every": 1_000},
        "learning": {"seed_steps": 0},
    },
    "grid-transfer-quick": {
        "tasks": ["room-1to2"],
        **SMALL_GRID,
        "budget": {
            "env_steps_per_task": 4_000,
            "parallel_envs": 4,
            "eval_every": 400,
            "eval_episodes": 8,
            "checkpoint_every": 2_000,
        },
        "learning": {**SMALL_GRID["learning"], "seed_steps": 0},
    },
}
