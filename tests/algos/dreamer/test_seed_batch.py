"""Several seeds at once: what each would be alone, but for rounding."""

import pytest
import torch

from lib.engine.seed_batch import SeedBatch
from tests.dreamer_tiny import batch_of, invented, new_agent, of_seed, ready, snapshot, tiny
from tests.tiny import same

SEEDS = (0, 3, 5)


def close(agent, other) -> None:
    for name, adam in agent.trained.items():
        torch.testing.assert_close(adam.row, other.trained[name].row, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(adam.mean, other.trained[name].mean, rtol=1e-3, atol=1e-5)
    for name, row in agent.slow.items():
        torch.testing.assert_close(row, other.slow[name], rtol=1e-4, atol=2e-5)


def alone(cfg, seed: int):
    (agent,) = batch_of(cfg, [seed]).agents
    return agent


@pytest.mark.parametrize(
    "method", ["dreamer", "continual-dreamer-p2e", "dreamer-p2e-pixels", "dreamer-uncertainty"]
)
def test_three_seeds_learn_what_each_learns_alone(method):
    cfg = tiny(method, replay__row_start="carry")
    batch = batch_of(cfg, SEEDS)
    batch.update(4)
    for agent, seed in zip(batch.agents, SEEDS, strict=True):
        other = alone(cfg, seed)
        other.update(4)
        close(agent, other)
        torch.testing.assert_close(agent.carried.h, other.carried.h, rtol=1e-3, atol=1e-4)
        mine, theirs = agent.report(), other.report()
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-4)
        assert (agent.updates, agent.updates_due) == (other.updates, other.updates_due)


def test_a_single_agent_is_a_batch_of_one_to_the_bit():
    one, other = ready(tiny()), ready(tiny())
    batch = SeedBatch([other])
    one.update(3)
    batch.update(3)
    assert same(snapshot(one), snapshot(other)) == []


def test_seeds_draw_from_their_own_replays():
    batch = batch_of(tiny(), (0, 0))
    one, other = batch.agents
    other.replay.add(invented(other, [11], seed=77), 0, torch.Generator())
    batch.update(2)
    assert not torch.equal(one.trained["model"].row, other.trained["model"].row)
    twins = batch_of(tiny(), (0, 0))
    twins.update(2)
    close(*twins.agents)


def test_a_batch_notices_that_an_agent_was_born_again():
    batch = batch_of(tiny("scratch"), SEEDS)
    batch.update(2)
    for agent in batch.agents:
        agent.begin_task(1)
        agent.store("learner", invented(agent, seed=agent.cfg.seed))
        agent.count_steps(24)
    before = [agent.trained["model"].row.clone() for agent in batch.agents]
    batch.update(1)
    for agent, row in zip(batch.agents, before, strict=True):
        assert agent.trained["model"].step == 1 and not torch.equal(agent.trained["model"].row, row)


def test_a_batch_goes_on_with_what_its_agents_restored():
    cfg = tiny("dreamer-p2e")
    batch = batch_of(cfg, SEEDS)
    batch.update(2)
    states = [(snapshot(agent), agent.streams.state_dict()) for agent in batch.agents]
    other = SeedBatch([new_agent(of_seed(cfg, seed)) for seed in SEEDS])
    for agent, (state, streams) in zip(other.agents, states, strict=True):
        agent.load_state_dict(state)
        agent.streams.load_state_dict(streams)
    batch.update(2)
    other.update(2)
    for mine, theirs in zip(batch.agents, other.agents, strict=True):
        assert same(snapshot(mine), snapshot(theirs)) == []


def test_optimisers_of_all_seeds_forget_together():
    batch = batch_of(tiny(boundary__reset_optimizers=True), SEEDS)
    batch.update(2)
    for agent in batch.agents:
        agent.begin_task(1)
    assert all(not agent.trained["actor"].mean.any() for agent in batch.agents)
    batch.update(1)
    assert all(agent.trained["actor"].step == 1 for agent in batch.agents)


def test_updates_wait_until_every_seed_has_stored_something():
    cfg = tiny()
    batch = SeedBatch([new_agent(of_seed(cfg, seed)) for seed in SEEDS])
    for agent in batch.agents:
        agent.count_steps(24)
    batch.agents[0].store("learner", invented(batch.agents[0]))
    assert batch.pending == 0
    for agent in batch.agents[1:]:
        agent.store("learner", invented(agent))
    assert batch.pending == 8


def test_seeds_are_asked_about_their_uncertainty_one_by_one():
    batch = batch_of(tiny("dreamer-uncertainty"), SEEDS)
    worth = [agent.replay.table.column("priority") for agent in batch.agents]
    assert all((one > 0).all() for one in worth)
    batch.update(1)
    for agent in batch.agents:
        agent.store("learner", invented(agent, [6]))
        assert agent.replay.table.column("priority")[-1] > 0
    batch.update(1)
