import copy
import dataclasses

import pytest
import torch

from lib.tdmpc import planner
from lib.tdmpc.drago import ContinualAgent
from tests.envs.conftest import NoHostReads
from tests.tiny import BOX, PICKS, continuous, in_task, invented, new_agent, same, tiny


def started(**changes) -> ContinualAgent:
    agent = new_agent(tiny("tdmpc", **changes))
    agent.begin_task(0)
    return agent


def acts(agent: ContinualAgent, n: int = 4003, **kwargs) -> torch.Tensor:
    return agent.act(torch.zeros(n, 3), None, **kwargs)[0]


def test_warm_up_acts_at_random_and_remembers_no_plan(monkeypatch):
    agent = started()
    monkeypatch.setattr(agent.learner, "plan", lambda *a, **k: pytest.fail("planned"))
    action, memory = agent.act(torch.zeros(4003, 3), None)
    assert memory is None
    assert action.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.04)


def test_warm_up_follows_the_action_spaces_chances():
    actions = dataclasses.replace(PICKS, warmup=(0.2, 0.2, 0.6))
    agent = new_agent(tiny("tdmpc"), actions=actions)
    agent.begin_task(0)
    assert acts(agent).mean(0).tolist() == pytest.approx([0.2, 0.2, 0.6], abs=0.04)


def test_evaluation_never_acts_at_random(monkeypatch):
    agent, planned = started(), []
    original = agent.learner.plan
    monkeypatch.setattr(
        agent.learner, "plan", lambda *a, **k: planned.append(k["explore"]) or original(*a, **k)
    )
    acts(agent, 3, explore=False)
    assert planned == [False]


@pytest.mark.parametrize(
    ("seed_steps", "batch", "episodes", "random"),
    [(14, 11, 0, True), (14, 11, 1, True), (14, 11, 2, False), (0, 11, 1, True), (0, 7, 1, False)],
    ids=["nothing stored", "too few steps", "both", "less than a batch", "a batch"],
)
def test_warm_up_lasts_until_steps_and_stored_transitions_suffice(
    seed_steps, batch, episodes, random
):
    # an episode has 7 steps
    agent = started(learning__seed_steps=seed_steps, learning__batch=batch)
    if episodes:
        agent.store("learner", invented(agent, episodes))
    assert (agent.act(torch.zeros(2, 3), None)[1] is None) == random


def test_a_wrapped_replay_never_acts_at_random_again():
    # the published code tests the write index, which returns to 0 when the ring is full
    agent = started(budget__env_steps_per_task=28, learning__seed_steps=0)
    agent.store("learner", invented(agent, 4))
    assert agent.learner.buffer.next == 0 and agent.learner.buffer.full
    assert agent.act(torch.zeros(2, 3), None)[1] is not None


def test_the_plan_of_one_step_starts_the_next():
    agent = in_task(continuous(), actions=BOX)
    obs = torch.zeros(5, 3)
    action, memory = agent.act(obs, None)
    assert action.shape == (5, 2) and memory.shape[0] == 5 and memory.shape[2] == 2
    assert agent.act(obs, memory)[0].abs().max() <= 1


def test_acting_with_given_generator_and_heads_leaves_the_agent_alone():
    agent = in_task(tiny())
    before = agent.streams.act.get_state()
    other = agent.heads_copy()
    with torch.no_grad():
        other.reward_net[-1].bias.add_(5.0)
    draws = torch.Generator().manual_seed(0)
    agent.act(torch.zeros(2, 3), None, explore=False, generator=draws, heads=other)
    assert torch.equal(agent.streams.act.get_state(), before)


def test_given_heads_decide_the_action(monkeypatch):
    agent, used = in_task(tiny()), []
    original = planner.trajectory_value
    monkeypatch.setattr(
        planner, "trajectory_value", lambda d, h, *a, **k: used.append(h) or original(d, h, *a, **k)
    )
    other = agent.heads_copy()
    agent.act(torch.zeros(2, 3), None, explore=False, heads=other)
    assert used and all(h is other for h in used)


@pytest.mark.parametrize(("method", "task"), [("tdmpc", 0), ("drago", 1), ("stored-replay", 1)])
@pytest.mark.parametrize("box", [False, True], ids=["discrete", "continuous"])
def test_acting_and_updating_read_nothing_back_from_the_device(method, task, box):
    agent = in_task(continuous(method), task, actions=BOX) if box else in_task(tiny(method), task)
    agent.update(1)
    role = agent.roles[-1]
    episodes, obs = invented(agent), torch.zeros(5, 3)
    with NoHostReads():
        _, memory = agent.act(obs, None, role=role)
        agent.act(obs, memory, role=role)
        agent.store(role, episodes)
        agent.update(2)


@pytest.mark.parametrize("with_replay", [True, False])
def test_an_actor_is_restored_exactly(with_replay):
    agent, other = in_task(tiny(), 1), in_task(tiny(seed=5), 1)
    agent.update(2)
    saved = copy.deepcopy(agent.reviewer.state_dict(with_replay))
    assert ("buffer" in saved) == with_replay
    other.reviewer.load_state_dict(saved)
    assert same(other.reviewer.state_dict(with_replay), saved) == []
