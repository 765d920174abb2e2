"""What a Dreamer's settings must agree on, how a run is cut, and what is built of it."""

import pytest
import torch

from lib.algos import registry
from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.family import FAMILY
from lib.core.errors import UserError
from lib.core.seeding import Streams
from lib.engine.seed_batch import SeedBatch, batch_of
from lib.envs.gym import minihack
from lib.experiments import run_config
from tests.dreamer_tiny import new_agent, of_seed, tiny


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("dreamer", {"env__domain": "grid"}, "'grid' is a world of TD-MPC and DRAGO.*minigrid"),
        ("dreamer", {"env__domain": "cheetah"}, "'cheetah' is a world of TD-MPC"),
        ("dreamer", {"env__observation": "state"}, "seen as 'symbols' or 'pixels'"),
        ("dreamer", {"env__action_repeat": 2}, "action_repeat 2: a step of minigrid is a decision"),
        ("dreamer", {"replay__capacity": 10}, "capacity 10 is smaller than one episode of 11"),
        ("dreamer", {"replay__min_length": 12}, "min_length 12 is longer than any episode"),
        ("dreamer", {"replay__pad": True}, "replay.pad lets .*discount_head learns"),
        (
            "dreamer",
            {"replay__pad": True, "objective__discount_head": False, "update__length": 12},
            "replay.pad makes episodes 12 decisions long .* none has more than 11",
        ),
        ("dreamer", {"budget__env_steps_per_task": 87}, "87 is not a multiple of 2.*86 or 88"),
        ("dreamer", {"update__prefill": 88}, "prefill 88 random steps leave nothing of.*88"),
        ("dreamer", {"behaviour__starts": 16}, r"starts 16 is more than .* \(3 x 5\)"),
        (
            "dreamer-visits",
            {"env__domain": "gymnasium", "env__observation": "state", "tasks": ["CartPole-v1"]},
            "'visits' counts cells of minigrid",
        ),
        ("dreamer", {"replay__sampling": "uncertainty"}, "bonus is 'none'; set it to plan2explore"),
        (
            "dreamer",
            {"tasks": ["doorkey-55x5"]},
            "unknown minigrid task 'doorkey-55x5'.*doorkey-5x5",
        ),
        ("dreamer", {"tasks": ["empty-5x5", "empty-5x5"]}, "listed twice"),
        (
            "dreamer",
            {"env__domain": "gymnasium", "tasks": ["CartPol-v1"]},
            "unknown environment 'CartPol-v1'.*CartPole-v1",
        ),
        ("dremer", {}, "unknown method 'dremer'.*did you mean 'dreamer'"),
        ("drago", {}, "unknown method 'drago'.*for preset 'debug'"),
        ("dreamer", {"planner__horizon": [3]}, "unknown setting 'planner'"),
        ("dreamer", {"replay__retention": "resevoir"}, "did you mean 'reservoir'"),
        ("dreamer", {"explore__evaluate": "best"}, "unknown value for 'explore.evaluate'"),
        ("dreamer", {"behaviour__discount": 1.5}, "behaviour.discount.*at most 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(method, changes, message):
    with pytest.raises(UserError, match=message) as error:
        tiny(method, **changes)
    assert "\n" not in str(error.value)


def test_a_capacity_of_one_episode_is_enough():
    run = tiny(replay__capacity=11)
    agent = new_agent(run)
    assert agent.replay.capacity == 11


def test_an_observation_that_a_world_does_not_offer_is_refused_when_it_is_built():
    run = tiny(env__domain="gymnasium", env__observation="pixels", tasks=["CartPole-v1"])
    with pytest.raises(UserError, match="cartpole-v1 shows a vector, not pixels"):
        registry.build(run, Streams(0), torch.device("cpu"))


def test_minihacks_runs_can_be_read_without_it_and_say_what_is_missing(monkeypatch):
    monkeypatch.setattr(minihack, "NEEDED", ("a_package_that_is_not_there",))
    minihack.package.cache_clear()
    try:
        run = run_config.resolve({"preset": "minihack4-full", "method": "continual-dreamer"})
        assert len(run.tasks) == 4
        with pytest.raises(UserError, match=r"MiniHack is not installed; run .*\[minihack\]"):
            registry.build(run, Streams(0), torch.device("cpu"))
    finally:
        minihack.package.cache_clear()


# From a task on ----------------------------------------------------------------------------------


def test_a_run_may_begin_within_its_sequence():
    source = {"load_mode": "world-model", "load_from": "somewhere"}
    run = run_config.resolve(
        {"preset": "minihack4-full", "method": "dreamer", "start_at": "river-narrow", **source}
    )
    assert run.tasks == ("river-narrow", "river-monster")
    with pytest.raises(UserError, match="goes on where a run over .* ended.*load_mode"):
        run_config.resolve({"preset": "minihack4-full", "start_at": "river-narrow"})


def test_tasks_keep_their_lengths_when_a_run_is_cut():
    run = run_config.resolve({"preset": "imbalance-full", "method": "dreamer"})
    assert FAMILY.cut(run, 0) == run
    rest = FAMILY.cut(run, 1)
    assert rest.tasks == ("river-narrow",) and rest.budget.steps_of(0) == 2_400_000
    equal = tiny(tasks=["empty-5x5", "doorkey-5x5", "empty-6x6"])
    assert [FAMILY.cut(equal, 2).budget.steps_of(task) for task in range(2)] == [88, 88]


def test_a_method_that_carries_nothing_may_begin_anywhere():
    run = run_config.resolve(
        {"preset": "minihack4-full", "method": "scratch", "start_at": "river-monster"}
    )
    assert run.tasks == ("river-monster",) and not run.carries


# What is built -----------------------------------------------------------------------------------


def test_a_configuration_builds_an_agent_and_its_world():
    agent, domain = registry.build(tiny(), Streams(0), torch.device("cpu"))
    assert isinstance(agent, DreamerAgent)
    assert agent.actions is domain.actions and agent.obs_space is domain.obs_space
    assert [task.name for task in domain.tasks] == ["empty-5x5", "doorkey-5x5"]
    assert registry.about(agent.cfg) == FAMILY.about["dreamer"]


def test_a_single_agent_keeps_its_own_batch():
    one, other = new_agent(tiny()), new_agent(of_seed(tiny(), 1))
    assert batch_of([one]) is one.seed_batch
    both = batch_of([one, other])
    assert isinstance(both, SeedBatch) and both.agents == (one, other)


def test_the_widest_layer_decides_about_threads():
    assert tiny().width == 13
    assert run_config.resolve({"preset": "minigrid3-full"}).width == 1024


@pytest.mark.parametrize("observation", ["symbols", "pixels"])
def test_minigrid_is_seen_either_way_and_stored_alike(observation):
    agent, domain = registry.build(
        tiny(env__observation=observation), Streams(0), torch.device("cpu")
    )
    assert agent.replay.records.obs.shape[1:] == (7, 7, 3)
    agent.begin_task(0)
    obs = domain.make(0).reset(2, torch.Generator())
    action, memory = agent.act(obs, None, explore=False)
    assert action.shape == (2, 7) and memory.h.shape == (2, 5)
