"""Methods and presets as data: all fit each other, and those of the paper hold its numbers."""

import dataclasses

import pytest

from lib.algos import registry
from lib.algos.dreamer import pixel_presets, source_presets
from lib.algos.dreamer.presets import ABOUT, METHODS, PRESETS
from lib.algos.dreamer.run_settings import DreamerRun
from lib.algos.dreamer.settings import (
    BehaviourConfig,
    ExploreConfig,
    LatentConfig,
    NetworkConfig,
    ObjectiveConfig,
    ReplayConfig,
    UpdateConfig,
)
from lib.core import config
from lib.experiments import run_config
from tests.dreamer_tiny import SETTINGS

OTHERS = pixel_presets.PRESETS.keys() | source_presets.PRESETS.keys()  # have tests of their own
KESSLER = [  # of Continual-Dreamer's paper
    name for name in PRESETS if name.endswith("-full") and name not in OTHERS
]


def resolve(preset: str, method: str = "dreamer", **overrides: object) -> DreamerRun:
    return run_config.resolve({"preset": preset, "method": method, "overrides": overrides})


def cells(preset: str) -> bool:
    return PRESETS[preset]["env"]["domain"] == "minigrid"


PAIRS = [(p, m) for p in PRESETS for m in METHODS if m != "dreamer-visits" or cells(p)]


@pytest.mark.parametrize(("preset", "method"), PAIRS)
def test_every_method_fits_every_preset_and_can_be_written_down(preset, method):
    run = resolve(preset, method)
    assert (run.preset, run.method_name, run.name) == (preset, method, f"{method}-{preset}")
    assert run.family == "dreamer" and registry.of(run) is registry.family("dreamer")
    assert registry.from_dict(config.to_dict(run)) == run
    sizes = registry.family("dreamer").sizes.get(preset, {}).get(method, {})
    assert config.merge(config.merge(run, METHODS[method]), sizes) == run


@pytest.mark.parametrize("method", METHODS)
def test_a_method_changes_nothing_but_what_its_row_says(method):
    run, plain = resolve("minigrid3-full", method), resolve("minigrid3-full")
    mine, theirs = (config.to_dict(one) for one in (run, plain))
    changed = {
        section: {key for key in mine[section] if mine[section][key] != theirs[section][key]}
        for section in METHODS[method]
    }
    for section, keys in changed.items():
        assert keys <= set(METHODS[method][section])
        mine[section] = theirs[section]
    assert mine | {"name": "", "method_name": ""} == theirs | {"name": "", "method_name": ""}


def test_every_method_says_what_it_is_and_no_two_are_alike():
    assert ABOUT.keys() == METHODS.keys()
    assert len(
        {str(config.to_dict(run_config.plain("debug", m)) | {"method_name": ""}) for m in METHODS}
    ) == len(METHODS)
    assert len(set(ABOUT.values())) == len(ABOUT)


def test_no_name_belongs_to_two_families():
    presets = [name for family in registry.FAMILIES for name in registry.family(family).presets]
    assert len(presets) == len(set(presets)) == len(registry.presets())


def test_the_familys_own_method_is_run_where_none_is_named():
    assert resolve("debug", "").method_name == "continual-dreamer"
    assert resolve("debug", "").replay.retention == "reservoir"


# The paper's numbers -----------------------------------------------------------------------------


def test_the_defaults_are_the_published_ones_on_minigrid():
    run = resolve("minigrid3-full")
    assert run.latent == LatentConfig(
        kind="categorical", variables=32, classes=32, deter=1024, hidden=1024, norm="none"
    )
    assert run.network == NetworkConfig(
        depth=48, code_width=400, code_layers=4, head_width=400, head_layers=4
    )
    assert run.objective == ObjectiveConfig(
        kl_scale=1.0,
        kl_balance=0.8,
        free_nats=0.0,
        discount_head=True,
        reward_shapes=True,
        reward="tanh",
    )
    assert run.behaviour == BehaviourConfig(
        discount=0.99, lam=0.95, horizon=15, starts=0, entropy=3e-3, slow_every=100
    )
    assert run.explore == ExploreConfig(
        bonus="none", members=10, intrinsic=0.9, extrinsic=0.9, lr=3e-4, every=0, evaluate="task"
    )
    assert run.update == UpdateConfig(
        batch=16,
        length=50,
        env_steps_per_update=10,
        prefill=10_000,
        pretrain=1,
        model_lr=1e-4,
        actor_lr=8e-5,
        critic_lr=2e-4,
        clip=100.0,
        epsilon=1e-5,
        decay=1e-6,
        precision="single",
    )
    assert run.replay == ReplayConfig(
        capacity=2_000_000, retention="fifo", sampling="uniform", min_length=5, row_start="zero"
    )
    assert (run.boundary.carry, run.boundary.reset_optimizers) == ("everything", False)
    assert run.env.episode_length == 100 and run.budget.parallel_envs == 1
    assert (run.budget.env_steps_per_task, run.budget.eval_every) == (750_000, 10_000)


@pytest.mark.parametrize(
    ("preset", "capacity"), [("minihack4", 1_000_000), ("minihack8", 2_000_000)]
)
def test_minihack_differs_as_published(preset, capacity):
    run = resolve(f"{preset}-full")
    assert run.latent.norm == "layer" and run.behaviour.entropy == 2e-3
    assert (run.update.model_lr, run.update.actor_lr, run.update.critic_lr) == (1e-4,) * 3
    assert run.replay.capacity == capacity and run.budget.eval_every == 50_000
    assert run.budget.steps_of(0) == 1_000_000 and len(run.tasks) == int(preset[-1])


def test_the_unequal_tasks_are_as_long_as_published():
    run = resolve("imbalance-full")
    assert [run.budget.steps_of(task) for task in range(2)] == [400_000, 2_400_000]
    assert run.replay.capacity == 400_000


@pytest.mark.parametrize("preset", KESSLER)
def test_published_sizes_differ_in_nothing_but_worlds_and_what_the_paper_changed(preset):
    run, plain = resolve(preset), DreamerRun()
    evaluate = "acting" if preset.startswith("interference") else "task"
    explore = dataclasses.replace(plain.explore, evaluate=evaluate)
    assert (run.network, run.objective, run.explore, run.boundary, run.engine) == (
        plain.network,
        plain.objective,
        explore,
        plain.boundary,
        plain.engine,
    )
    assert run.budget.eval_tasks == "all" and run.budget.eval_episodes == 10


def test_what_shapes_the_latent_and_who_is_evaluated_when_exploring():
    pixels, whole = resolve("minihack4-full", "dreamer-p2e-pixels"), resolve("debug", "dreamer-p2e")
    assert not (pixels.objective.discount_head or pixels.objective.reward_shapes)
    assert pixels.explore.evaluate == "acting"
    assert whole.objective.discount_head and whole.objective.reward_shapes
    assert whole.explore.evaluate == "task"
    for run in (pixels, whole):
        assert (run.explore.intrinsic, run.explore.extrinsic) == (0.9, 0.9)


def test_small_presets_change_sizes_and_worlds_but_not_the_method():
    for preset in ("minigrid3-quick", "debug"):
        run, full = resolve(preset), resolve("minigrid3-full")
        weights = {"kl_scale": 1.0, "reward_scale": 1.0}  # which the preset says why it changes
        assert dataclasses.replace(run.objective, **weights) == full.objective
        assert run.boundary == full.boundary
        for name in ("gradient", "lam"):
            assert getattr(run.behaviour, name) == getattr(full.behaviour, name)
        assert run.replay.row_start == full.replay.row_start
        assert len(run.tasks) == len(set(run.tasks))


def test_the_tests_own_sizes_are_known_settings():
    assert set(SETTINGS) <= set(config.dotted_keys(DreamerRun()))
