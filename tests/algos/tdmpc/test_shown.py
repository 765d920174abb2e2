import pytest
import torch

from tests.tiny import in_task, new_agent, tiny

N, H, T = 5, 3, 7


@pytest.fixture
def agent():
    return in_task(tiny("drago"))


def test_outcomes_follow_each_candidate_step_by_step(agent):
    draws = torch.Generator().manual_seed(0)
    obs = torch.rand(agent.obs_dim, generator=draws)
    actions = agent.actions.random(N * H, draws).view(N, H, -1)
    seen, reward = agent.capabilities().search.outcomes(obs, actions)
    assert seen.shape == (N, H + 1, agent.obs_dim) and reward.shape == (N, H)
    z, predict = obs.expand(N, -1), agent.capabilities().predict
    for k in range(H):
        wanted = agent.learner.heads.reward(torch.cat((z, actions[:, k]), -1))
        torch.testing.assert_close(reward[:, k], wanted.detach())
        z = predict(z, actions[:, k])
        torch.testing.assert_close(seen[:, k + 1], z)


def test_values_are_the_smaller_of_both_critics(agent):
    draws = torch.Generator().manual_seed(0)
    obs = torch.rand(T + 1, agent.obs_dim, generator=draws)
    action = agent.actions.random(T, draws)
    heads = agent.learner.heads
    found = agent.capabilities().value(obs, action, draws)
    wanted = torch.stack(tuple(heads.twin(heads.q, obs[:-1], action))).min(0).values
    assert torch.equal(found, wanted) and found.shape == (T,)


def test_the_review_rule_has_the_next_tasks_threshold(agent):
    agent.next_threshold.fill_(7.5)
    rule = agent.capabilities().review_rule
    assert rule.used and rule.threshold == 7.5 and rule.cost == agent.cfg.reviewer.cost
    assert not in_task(tiny("tdmpc")).capabilities().review_rule.used


def test_an_agent_can_be_asked_before_its_first_task():
    can = new_agent(tiny("drago")).capabilities()
    assert can.look_ahead == tiny("drago").planner.horizon[0] and can.transfer
