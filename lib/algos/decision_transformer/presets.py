"""Tables list methods and sizes as differences from the defaults of `settings` and `sizes`.

Those defaults are the published model's. Source: Schmied et al. 2023 (L2M) and its release.
"""

from typing import Any

from lib.core.config import layered

METHODS: dict[str, dict[str, Any]] = {
    # Every row is what the method changes: what learns in the stream.
    "dt-full": {"modulator": {"kind": "full"}},
    "dt-head": {"modulator": {"kind": "head"}},
    "dt-last-layers": {"modulator": {"kind": "last_layers"}},
    "dt-adapters": {"modulator": {"kind": "adapters"}},
    "dt-lora": {"modulator": {"kind": "lora"}},
    "dt-ia3": {"modulator": {"kind": "ia3"}},
    "dt-prompt": {"modulator": {"kind": "prompt"}},
    "dt-prefix": {"modulator": {"kind": "prefix"}},
    "dt-p-tuning": {"modulator": {"kind": "p_tuning"}},
    **{
        f"dt-l2p-{kind.replace('_', '-')}": {
            "modulator": {"kind": "l2p"},
            "modulators": {"l2p": {"kind": kind}},
        }
        for kind in ("prompt", "prefix", "p_tuning")
    },
    "dt-l2m": {"modulator": {"kind": "l2m"}},
    "dt-l2m-oracle": {"modulator": {"kind": "l2m"}, "modulators": {"l2m": {"oracle": True}}},
    "dt-l2m-ia3": {"modulator": {"kind": "l2m_ia3"}},
    "dt-hide-lora": {"modulator": {"kind": "hide_lora"}},
    "dt-hide-lora-head": {
        "modulator": {"kind": "hide_lora"},
        "modulators": {"hide_lora": {"tii": "head"}},
    },
    "dt-hide-lora-oracle": {
        "modulator": {"kind": "hide_lora"},
        "modulators": {"hide_lora": {"tii": "oracle"}},
    },
    "dt-ewc": {"modulator": {"kind": "ewc"}},
    "dt-l2": {"modulator": {"kind": "l2"}},
}

ABOUT = {
    "dt-full": "Decision Transformer, all of it learns every task of the stream",
    "dt-head": "its action head alone learns",
    "dt-last-layers": "its last block alone learns",
    "dt-adapters": "small perceptrons in the blocks, per task; oracle: told which task it acts",
    "dt-lora": "one low-rank set per task; oracle: told which task it acts",
    "dt-ia3": "(IA)³, vectors that multiply, a set per task; oracle: told which task it acts",
    "dt-prompt": "learned tokens before the window, per task; oracle: told which task it acts",
    "dt-prefix": "learned keys and values, per task; oracle: told which task it acts",
    "dt-p-tuning": "learned tokens in every layer, per task; oracle: told which task it acts",
    "dt-l2p-prompt": "L2P, a pool of prompts, the nearest few of which are read",
    "dt-l2p-prefix": "the same with keys and values",
    "dt-l2p-p-tuning": "the same with tokens in every layer",
    "dt-l2m": "L2M, a pool of low-rank sets chosen by what is seen",
    "dt-l2m-oracle": "the same, a share of the pool per task; oracle: told which task it acts",
    "dt-l2m-ia3": "L2M with vectors that multiply in place of low-rank sets",
    "dt-hide-lora": "HiDe-LoRA, one low-rank set per task, the task inferred from statistics",
    "dt-hide-lora-head": "the same, the task inferred by a classifier trained on samples of them",
    "dt-hide-lora-oracle": "the same; oracle: told which task it acts",
    "dt-ewc": "all of it learns, weights that mattered for earlier tasks held (EWC)",
    "dt-l2": "all of it learns, all weights held alike",
}

MT40 = [
    # Meta-World without the ten tasks of the stream.
    *("assembly", "basketball", "bin-picking", "box-close", "button-press"),
    *("button-press-topdown", "button-press-topdown-wall", "button-press-wall", "coffee-button"),
    *("coffee-pull", "coffee-push", "dial-turn", "disassemble", "door-close", "door-lock"),
    *("door-open", "door-unlock", "drawer-close", "drawer-open", "faucet-open", "hand-insert"),
    *("handle-press", "handle-pull", "handle-pull-side", "lever-pull", "peg-insert-side"),
    *("pick-out-of-hole", "pick-place", "pick-place-wall", "plate-slide", "plate-slide-back"),
    *("plate-slide-back-side", "plate-slide-side", "reach", "reach-wall", "soccer", "stick-push"),
    *("sweep", "sweep-into", "window-open"),
]
CW10 = [
    *("hammer", "push-wall", "faucet-close", "push-back", "stick-pull", "handle-press-side"),
    *("push", "shelf-place", "window-close", "peg-unplug-side"),
]
DMC10 = [
    *("cartpole-balance", "finger-turn_easy", "finger-turn_hard", "fish-upright", "hopper-stand"),
    *("pendulum-swingup", "point_mass-easy", "reacher-hard", "walker-stand", "walker-run"),
]
DMC6 = [
    *("ball_in_cup-catch", "cartpole-swingup", "cheetah-run", "finger-spin", "reacher-easy"),
    "walker-walk",
]
# The published runs. Their files are replays of other agents; those made here are of scripted
# experts and controllers, so that returns are not comparable.
PUBLISHED: dict[str, Any] = {
    "dataset": "outputs/data/metaworld",
    "env": {"domain": "metaworld", "episode_length": 200},
    "pretrain": {"tasks": 0},
    "budget": {
        "updates_per_task": 100_000,
        "eval_every": 50_000,
        "eval_episodes": 5,
        "checkpoint_every": 10_000,
        "report_every": 1_000,
    },
}
# A model that one CPU core trains in a minute. Source: the sizes and budgets at which the
# effects were first measured (two layers of 64, 800 updates and 150 a task); rates, which a model
# so small and budgets so short ask to be higher, are ours.
POINT_MASS: dict[str, Any] = {
    "tasks": [
        "point-mass-pretrain",
        *(f"point-mass-turn-{angle}" for angle in (0, 90, 180, 270)),
    ],
    "dataset": "outputs/data/point-mass",
    "env": {"domain": "point-mass", "episode_length": 30},
    "budget": {
        "updates_per_task": 50,
        "lengths": [16, 3],  # 800 updates of pre-training, then 150 a task
        "eval_every": 50,
        "eval_episodes": 50,
        "eval_tasks": "seen",
        "eval_fixed": True,  # a change of a result is the agent's, not the episodes'
        "report_every": 25,
        "checkpoint_every": 100,
    },
    "model": {
        **{"layers": 2, "heads": 4, "width": 64, "dropout": 0.0},
        **{"slots": 8, "actions": 2, "steps": 30},
    },
    "data": {"reward_scale": [1.0], "pad_starts": True},
    "pretrain": {"batch": 64, "rate": 1e-3, "warm_up": 50, "last_rate": 1e-5},
    "tune": {"batch": 64, "rate": 1e-3},
    "modulators": {
        "lora": {"init": "standard"},
        **{kind: {"length": 5} for kind in ("prompt", "prefix", "p_tuning")},
        "l2p": {"length": 1, "pool": 20},  # five of one are as many
        "l2m": {"init": "standard"},
        "hide_lora": {"init": "standard", "windows": 2_000},
        "ewc": {"batch": 64},
    },
}

# Eight easy tasks of Meta-World, then four that are new, at a size that one CPU core learns: about
# an hour of pre-training, minutes a task. Source: layers, width and batch as measured for a CPU in
# the notes that this family is built from; tasks, budgets and rates are ours.
EASY = [
    *("reach", "door-open", "drawer-open", "button-press", "faucet-open", "window-open"),
    *("plate-slide", "door-lock"),
]
HELD_OUT = ["window-close", "faucet-close", "drawer-close", "handle-press-side"]
METAWORLD_SMALL: dict[str, Any] = {
    "tasks": [{"name": "pretrain", "turns": EASY}, *HELD_OUT],
    "dataset": "outputs/data/metaworld",
    "env": {"domain": "metaworld", "episode_length": 200},
    "budget": {
        "updates_per_task": 500,
        "lengths": [20, 3],  # 10,000 updates of pre-training, then 1,500 a task
        "eval_every": 1_000,
        "eval_episodes": 10,  # of every task, of pre-training too
        "eval_tasks": "seen",
        "report_every": 100,
        "checkpoint_every": 500,
    },
    "model": {
        **{"layers": 3, "heads": 4, "width": 128, "dropout": 0.0},
        **{"slots": 39, "actions": 4, "steps": 200},
    },
    "data": {"reward_scale": [200.0], "pad_starts": True},
    "pretrain": {"batch": 64, "domains": 1, "rate": 1e-3, "warm_up": 500, "last_rate": 1e-5},
    "tune": {"batch": 64, "rate": 1e-3},
    "modulators": {
        "lora": {"init": "standard"},
        "l2m": {"init": "standard"},
        "hide_lora": {"init": "standard", "windows": 4_000},
        "ewc": {"batch": 64},
    },
}

PRESETS: dict[str, dict[str, Any]] = {
    "point-mass-quick": POINT_MASS,
    "metaworld-small-quick": METAWORLD_SMALL,
    # Everything small: does it run?
    "point-mass-debug": layered(
        POINT_MASS,
        {
            "tasks": ["point-mass-pretrain", "point-mass-turn-0", "point-mass-turn-90"],
            "budget": {
                "updates_per_task": 4,
                "lengths": [1],
                "eval_every": 2,
                "eval_episodes": 3,
                "report_every": 2,
                "checkpoint_every": 2,
            },
            "model": {"layers": 1, "heads": 2, "width": 16, "dropout": 0.1},
            "pretrain": {"batch": 8, "warm_up": 2},
            "tune": {"batch": 8},
            "modulators": {
                "l2m": {"pool": 3},
                "l2m_ia3": {"pool": 3},
                "l2p": {"pool": 7, "top": 2},
                "hide_lora": {"windows": 60, "centroids": 3, "epochs": 2, "samples": 16},
                "ewc": {"batch": 8, "batches": 2},
            },
        },
    ),
    "mt40-dmc10-full": layered(
        PUBLISHED,
        {
            "tasks": [{"name": "mt40-dmc10", "turns": [*MT40, *DMC10]}],
            "dataset": "outputs/data/metaworld,outputs/data/dmc-states",
            "env": {"domain": "mtdmc", "episode_length": 1_000},
            "pretrain": {"tasks": 1},
            "budget": {"updates_per_task": 500_000, "eval_every": 100_000, "eval_episodes": 3},
            "data": {"reward_scale": [200.0] * len(MT40) + [100.0] * len(DMC10)},
        },
    ),
    "cw10-full": layered(PUBLISHED, {"tasks": CW10}),
    "cw20-full": layered(PUBLISHED, {"tasks": [*CW10, *(f"{name}-again" for name in CW10)]}),
    "dmc6-full": layered(
        PUBLISHED,
        {
            "tasks": DMC6,
            "dataset": "outputs/data/dmc-states",
            "env": {"domain": "dmc-states", "episode_length": 1_000},
            "data": {"reward_scale": [100.0]},
        },
    ),
}
