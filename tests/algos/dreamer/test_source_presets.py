"""Presets of transfer from several sources hold the specification's numbers, and its exact rows.

Source: sections 7, 9 and 10 of the specification of multi-source transfer.
"""

from itertools import pairwise

import pytest
import torch

from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.networks import count
from lib.core import config, losses
from lib.core.seeding import Streams
from lib.core.spaces import ActionSpace, ObsSpace
from lib.experiments import run_config
from lib.replay.buffer import Episodes
from tests.dreamer_tiny import VECTOR


def resolve(preset, method="dreamer-v1", **overrides):
    return run_config.resolve({"preset": preset, "method": method, "overrides": overrides})


def agent(cfg, space, actions):
    streams = Streams(0, torch.device("cpu"))
    return DreamerAgent(cfg, space, ActionSpace(actions, discrete=False), streams, "cpu")


def at_rest(made):
    """An episode in which nothing happens."""
    steps = 500
    return Episodes(
        torch.zeros(1, steps + 1, *made.obs_space.shape),
        torch.zeros(1, steps, 1),
        torch.zeros(1, steps),
        torch.tensor([steps]),
        torch.zeros(1, dtype=torch.bool),
    )


def test_the_full_preset_is_as_published():
    run = resolve("sources-full")
    env, budget, update, behaviour = run.env, run.budget, run.update, run.behaviour
    assert (env.domain, env.image_size, env.decisions) == ("bullet", 64, 500)
    assert budget.env_steps_per_task == 1_000_000
    assert (update.batch, update.length, update.pretrain) == (50, 50, 100)
    assert (update.model_lr, update.actor_lr, update.critic_lr) == (6e-4, 8e-5, 8e-5)
    assert (update.clip, update.decay, update.epsilon) == (100.0, 0.0, 1e-7)
    assert (update.burst, update.env_steps_per_update) == (100, 10)
    assert (run.latent.variables, run.latent.deter, run.latent.hidden) == (30, 200, 200)
    assert (run.network.depth, run.network.head_width) == (32, 400)
    assert (behaviour.horizon, behaviour.discount, behaviour.lam) == (15, 0.99, 0.95)
    assert run.objective.free_nats == 3.0 and run.objective.reward_scale == 1.0
    assert run.representation.reconstruction.scale == 1.0
    assert run.explore.noise == 0.3 and run.transfer.omega == 0.2 and run.meta.layers == 1


def test_the_full_networks_have_as_many_numbers_as_the_specification_says():
    small = {"replay.capacity": 500, "update.batch": 2}
    made = agent(resolve("sources-full", **small), ObsSpace("image", (64, 64, 3), torch.uint8), 6)
    model, modules = made.networks.modules["model"], made.networks.modules
    assert count(model.encoder) == 690_144 and count(model.objective.decoder) == 3_795_555
    assert count(model.rssm) == 557_920 and count(model.reward_head) == 253_201
    assert count(model) == 5_296_820
    assert (count(modules["actor"]), count(modules["critic"])) == (578_412, 413_601)


def test_the_quick_preset_is_the_specifications_toy():
    run = resolve("sources-quick")
    assert (run.latent.variables, run.latent.deter, run.latent.hidden) == (8, 64, 64)
    assert (run.network.code_width, run.network.head_width) == (64, 64)
    assert (run.update.batch, run.update.length, run.behaviour.horizon) == (16, 16, 10)
    assert (run.update.model_lr, run.update.actor_lr, run.update.critic_lr) == (6e-4, 3e-4, 3e-4)
    assert (run.objective.free_nats, run.objective.reward_scale) == (1.0, 5.0)
    assert run.representation.reconstruction.scale == 5.0
    # three random episodes of 200 env steps, 50 updates, then 25 for every 200
    assert (run.update.prefill, run.update.pretrain) == (600, 50)
    assert (run.update.burst, run.update.burst * run.update.env_steps_per_update) == (25, 200)


def test_a_weight_of_the_reconstruction_multiplies_it():
    found = {}
    for scale in (1.0, 5.0):
        made = agent(
            resolve("sources-quick", **{"representation.reconstruction.scale": scale}), VECTOR, 1
        )
        model, draws = made.networks.modules["model"], torch.Generator().manual_seed(0)
        T, B = 3, 2
        noise = {"posterior": torch.zeros(T, B, 8)}
        batch = (
            torch.randn(T, B, 7, generator=draws),
            torch.zeros(T, B, 1),
            torch.zeros(T, B),
            torch.zeros(T, B, dtype=torch.bool),
            torch.zeros(T, B, dtype=torch.bool),
        )
        model.load_state_dict(agent(made.cfg, VECTOR, 1).module("model").state_dict())
        found[scale] = float(model.loss(*batch, noise)[1].parts["reconstruction"])
    assert found[5.0] == pytest.approx(5 * found[1.0], rel=1e-6)


def test_updates_are_a_hundred_for_every_thousand_steps_and_a_hundred_at_first():
    run = resolve("sources-full", **{"replay.capacity": 500, "update.batch": 2})
    made = agent(config.merge(run, {"update": {"prefill": 1_000}}), VECTOR, 1)
    made.begin_task(0)
    made.store("learner", at_rest(made))
    for _ in range(500):  # decisions of 2 env steps: the prefill, and 100 updates right after it
        made.count_steps(1)
    assert made.pending == 100
    for _ in range(100):
        made.count_update()
    bursts = []
    for decision in range(1, 2_501):
        made.count_steps(1)
        if made.pending:
            bursts.append((2 * decision, made.pending))
            for _ in range(made.pending):
                made.count_update()
    assert [due for _, due in bursts] == [100] * 5  # in five thousand env steps
    gaps = [after - before for (before, _), (after, _) in pairwise(bursts)]
    assert all(abs(gap - 1_000) <= 2 for gap in gaps)  # a decision, as tenths add up inexactly


def test_a_return_that_trusts_the_rollout_is_the_discounted_sum_and_weights_are_powers():
    reward = torch.randn(15, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    discount = torch.full_like(reward, 0.99)
    found = losses.lambda_return(reward, discount, torch.zeros_like(reward), 1.0)
    for k in range(15):
        powers = 0.99 ** torch.arange(15 - k, dtype=torch.float64)
        torch.testing.assert_close(found[k], (powers.unsqueeze(1) * reward[k:]).sum(0))
    weights = losses.rollout_weights(discount)
    assert weights[:14, 0].tolist() == pytest.approx([0.99**k for k in range(14)])
