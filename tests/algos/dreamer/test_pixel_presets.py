"""Presets of dm_control seen as pictures hold the numbers of DreamerPro's code.

Source: section 6 of the specification, read in the published code.
"""

import pytest

from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.pixel_presets import METHODS, PRESETS
from lib.algos.dreamer.run_settings import DreamerRun
from lib.core.errors import UserError
from lib.core.seeding import Streams
from lib.envs import worlds
from lib.experiments import run_config
from tests.dreamer_tiny import PICKS, SYMBOLS, tiny


def resolve(preset: str, method: str, **overrides: object) -> DreamerRun:
    return run_config.resolve({"preset": preset, "method": method, "overrides": overrides})


@pytest.mark.parametrize("preset", ["dmc-full", "nat-full"])
@pytest.mark.parametrize(
    ("method", "batch", "length"), [("dreamer", 50, 50), ("dreamer-pro", 50, 51), ("tpc", 150, 50)]
)
def test_what_all_agents_share_is_as_published(preset, method, batch, length):
    run = resolve(preset, method)
    update, behaviour, latent, network = run.update, run.behaviour, run.latent, run.network
    assert (update.batch, update.length) == (batch, length)
    assert (latent.kind, latent.variables, latent.deter, latent.hidden) == (
        "gaussian",
        32,
        200,
        200,
    )
    assert (latent.min_std, latent.norm) == (0.1, "none")
    assert (network.depth, network.head_width, network.head_layers) == (48, 400, 4)
    assert (update.model_lr, update.actor_lr, update.critic_lr) == (3e-4, 8e-5, 8e-5)
    assert (update.epsilon, update.clip, update.decay) == (1e-5, 100.0, 1e-6)
    assert (behaviour.discount, behaviour.lam, behaviour.entropy) == (0.99, 0.95, 1e-4)
    # 15 imagined states, the first among them, from all states of a batch
    assert (behaviour.horizon, behaviour.starts, behaviour.slow_every) == (14, 0, 100)
    assert (behaviour.samples, behaviour.credit) == (100, "current")
    assert not run.objective.discount_head and run.objective.reward == "identity"
    assert (run.objective.kl_balance, run.objective.free_nats) == (0.8, 1.0)
    assert run.explore.bonus == "none" and run.explore.evaluate == "task"
    # env steps: an update for every five decisions
    assert (update.prefill, update.pretrain, update.env_steps_per_update) == (5_000, 100, 10)
    env, budget = run.env, run.budget
    assert (env.action_repeat, env.decisions, env.image_size) == (2, 500, 64)
    assert env.render_quality == "full"
    assert (budget.env_steps_per_task, budget.parallel_envs) == (1_000_000, 1)
    assert (budget.eval_every, budget.eval_episodes) == (10_000, 10)
    # whole episodes, never thrown away: 500,000 decisions
    assert run.replay.retention == "fifo" and run.replay.capacity >= 500_000
    assert (run.replay.sampling, run.replay.slack, run.replay.row_start) == ("uniform", 0, "zero")


@pytest.mark.parametrize(
    ("preset", "reward", "norm", "background"),
    [("dmc-full", 1.0, 0.0, "plain"), ("nat-full", 1000.0, 1.0, "procedural:natural")],
)
def test_moving_backgrounds_change_the_weights_of_reward_and_norm(preset, reward, norm, background):
    run = resolve(preset, "dreamer-pro")
    assert run.objective.reward_scale == reward and run.env.background == background
    assert run.representation.prototypes.norm == norm


def test_prototypes_and_contrast_are_as_published():
    own = resolve("dmc-full", "dreamer-pro").representation.prototypes
    assert (own.size, own.temperature, own.epsilon, own.iterations) == (32, 0.1, 0.0125, 3)
    assert (own.shift, own.warm_up, own.freeze) == (3.0, 1, 10_000)
    run = resolve("dmc-full", "tpc")
    own = run.representation.contrast
    assert (own.noise, own.temporal, own.static, own.consistency) == (0.2, 1.0, 1.0, 0.1)
    assert run.objective.kl_scale == 0 and run.latent.posterior == "embedding"


def test_dreamer_1_is_as_published():
    # Source: sections 1 and 7 of the specification of multi-source transfer.
    run = resolve("dmc-full", "dreamer-v1")
    assert (run.latent.variables, run.latent.deter, run.latent.hidden) == (30, 200, 200)
    assert (run.latent.cell, run.latent.std, run.latent.min_std) == ("gru", "softplus", 0.1)
    assert (run.network.depth, run.network.convolution) == (32, "relu")
    layers = run.network.reward_layers, run.network.critic_layers, run.network.head_layers
    assert layers == (2, 3, 4) and run.network.actor_min_std == 1e-4
    assert (run.update.batch, run.update.length, run.behaviour.horizon) == (50, 50, 15)
    assert (run.update.model_lr, run.update.actor_lr, run.update.critic_lr) == (6e-4, 8e-5, 8e-5)
    assert (run.update.epsilon, run.update.decay, run.update.clip) == (1e-7, 0.0, 100.0)
    assert (run.behaviour.discount, run.behaviour.lam, run.behaviour.entropy) == (0.99, 0.95, 0.0)
    assert run.explore.noise == 0.3 and run.objective.free_nats == 3.0
    assert (run.update.burst, run.update.env_steps_per_update) == (100, 10)  # 100 per 1,000
    # Twice half of either side's gradient is the whole KL's.
    assert run.objective.kl_scale * run.objective.kl_balance == 1.0
    assert run.objective.kl_scale * (1 - run.objective.kl_balance) == 1.0


def test_the_original_tpc_is_as_published():
    # Source: section 3 of the specification, and part A of its supplement.
    run = resolve("dmc-full", "tpc-original")
    update, behaviour, own = run.update, run.behaviour, run.representation.contrast
    assert (update.batch, update.length, update.model_lr) == (250, 50, 6e-4)
    assert (update.pretrain, update.pretrains) == (2_000, "model")
    assert (own.consistency, own.rises, own.rise) == (0.1, 5, 0.01)
    assert (own.warm_up, own.noise, own.centring) == (5, 0.2, 0.01)
    # all states of 50 of the 250 sequences
    assert (behaviour.sequences, behaviour.starts, behaviour.credit) == (50, 0, "reached")
    # a copy as each burst of 100 begins: pretraining is a multiple of it
    assert (
        (behaviour.slow_every, behaviour.slow_when) == (update.burst, "before") == (100, "before")
    )
    assert update.burst == 100 and update.pretrain % 100 == 0
    assert (run.latent.variables, run.latent.posterior, run.latent.min_std) == (30, "embedding", 0)
    assert (run.latent.std, run.latent.cell, run.objective.kl_scale) == ("softplus", "gru", 0)
    assert (run.network.depth, run.network.convolution) == (32, "relu")


def test_what_only_the_original_tpc_does_is_off_everywhere_else():
    for method in (*METHODS, "dreamer"):
        if method != "tpc-original":
            run = resolve("dmc-full", method)
            assert (run.update.pretrains, run.behaviour.slow_when) == ("all", "after")
            assert run.behaviour.sequences == run.representation.contrast.rises == 0


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", [*METHODS, "dreamer", "continual-dreamer"])
def test_every_agent_fits_every_stream(preset, method):
    run = resolve(preset, method)
    tasks = worlds.resolve(run.env, run.tasks)
    assert len({task.actions for task in tasks}) == 1


def test_grounds_change_from_task_to_task_and_the_task_does_not():
    run = resolve("grounds-full", "dreamer-pro")
    tasks = worlds.resolve(run.env, run.tasks)
    assert {(task.domain, task.task) for task in tasks} == {("walker", "walk")}
    assert len({task.background for task in tasks}) == len(tasks) == 3


def test_the_actors_credit_needs_gradients_of_the_dynamics():
    with pytest.raises(UserError, match="credit 'current' .* use credit 'next'"):
        DreamerAgent(tiny(behaviour__credit="current"), SYMBOLS, PICKS, Streams(0, "cpu"), "cpu")


def test_pictures_of_a_size_without_networks_are_refused():
    with pytest.raises(UserError, match="image_size 48.* 32 or 64"):
        resolve("dmc-quick", "dreamer", **{"env.image_size": 48})
