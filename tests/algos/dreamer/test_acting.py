"""Decisions: who acts when, what is remembered, and that nobody's noise is another's."""

import pytest
import torch

from lib.algos.dreamer.rssm import State
from tests.dreamer_tiny import (
    BOX,
    SYMBOLS,
    VECTOR,
    batch_of,
    new_agent,
    observations,
    of_seed,
    ready,
    tiny,
)

E = 4


def seen(space=SYMBOLS, count: int = E, seed: int = 0) -> torch.Tensor:
    return observations(space, count, draws=torch.Generator().manual_seed(seed))


def policy(agent, explore: bool) -> tuple[str, bool]:
    agent.act(seen(), None, explore=explore)
    return agent.seed_batch.computation.acting.policy(explore)


# Who acts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "collecting", "evaluating"),
    [
        ("dreamer", ("actor", False), ("actor", True)),
        ("dreamer-p2e", ("explorer", False), ("actor", True)),
        ("dreamer-p2e-pixels", ("explorer", False), ("explorer", False)),
        ("continual-dreamer-p2e-pixels", ("explorer", False), ("explorer", False)),
    ],
)
def test_the_method_says_who_collects_and_who_is_evaluated(method, collecting, evaluating):
    agent = ready(tiny(method))
    assert policy(agent, explore=True) == collecting
    assert policy(agent, explore=False) == evaluating


def test_evaluated_as_it_collects_a_single_policy_is_sampled():
    agent = ready(tiny(explore__evaluate="acting"))
    assert policy(agent, explore=False) == ("actor", False)


def test_exploring_may_be_rarer_than_every_step():
    agent = ready(tiny("dreamer-p2e", explore__every=3))  # 2 episodes at once
    who = []
    for _ in range(6):
        who.append(policy(agent, explore=True)[0])
        agent.count_steps(2)
    assert who == ["explorer", "actor", "actor"] * 2  # after 24 steps, turn 12
    assert policy(agent, explore=False) == ("actor", True)


# What is done ------------------------------------------------------------------------------------


def test_the_best_action_is_that_of_the_largest_logit():
    agent = ready(tiny())
    action, kept = agent.act(seen(), None, explore=False, generator=torch.Generator())
    actor, model = agent.module("actor"), agent.module("model")
    logits = actor(model.rssm.features(State(kept.z, kept.h)))
    assert torch.equal(action.argmax(-1), logits.argmax(-1))
    assert torch.equal(kept.action, action) and torch.equal(action.sum(-1), torch.ones(E))


def test_sampled_actions_follow_their_probabilities():
    agent, count = ready(tiny()), 3000
    obs = seen(count=1).expand(count, *SYMBOLS.shape).contiguous()
    action, kept = agent.act(obs, None, generator=torch.Generator().manual_seed(0))
    actor, model = agent.module("actor"), agent.module("model")
    chances = actor(model.rssm.features(State(kept.z, kept.h))).softmax(-1)
    torch.testing.assert_close(action.mean(0), chances.mean(0), atol=0.03, rtol=0)


def test_a_decision_filters_what_was_seen_and_done_before():
    agent = ready(tiny())
    model = agent.module("model")
    action, kept = agent.act(seen(), None, generator=torch.Generator().manual_seed(3))
    noise = torch.Generator().manual_seed(4)
    again, after = agent.act(seen(seed=1), kept, generator=noise)
    # the deterministic state follows from the last state and action alone
    imagined = model.rssm.imagining()(
        State(kept.z, kept.h), action, torch.rand(E, 2, generator=torch.Generator())
    )
    torch.testing.assert_close(after.h, imagined.h)
    assert torch.equal(after.action, again)


def test_zeros_to_remember_are_nothing_to_remember():
    agent = ready(tiny())
    _, kept = agent.act(seen(), None, generator=torch.Generator())
    nothing = type(kept)(*(torch.zeros_like(part) for part in kept))
    one, other = (
        agent.act(seen(), memory, generator=torch.Generator()) for memory in (None, nothing)
    )
    assert torch.equal(one[0], other[0]) and torch.equal(one[1].h, other[1].h)


def test_what_one_episode_remembers_is_nothing_to_the_others():
    agent = ready(tiny())
    _, kept = agent.act(seen(), None, generator=torch.Generator())
    other = type(kept)(*(part.clone() for part in kept))
    for part in other:
        part[1] = 0.0
    results = [
        agent.act(seen(seed=1), memory, generator=torch.Generator())[1] for memory in (kept, other)
    ]
    same = (results[0].h == results[1].h).all(-1)
    assert same.tolist() == [True, False, True, True]


def test_while_it_acts_at_random_it_remembers_nothing():
    agent = new_agent(tiny())
    action, memory = agent.act(seen(), None)
    assert memory is None and torch.equal(action.sum(-1), torch.ones(E))
    _, memory = agent.act(seen(), None, explore=False)  # but it can be evaluated
    assert memory.h.shape == (E, 5)


def test_evaluating_moves_none_of_the_agents_own_generators():
    agent = ready(tiny("dreamer-p2e"))
    before = agent.streams.state_dict()
    agent.act(seen(), None, explore=False, generator=torch.Generator())
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.values(), agent.streams.state_dict().values(), strict=True)
    )


def test_continuous_actions_stay_in_their_box():
    agent = ready(tiny(), space=VECTOR, actions=BOX)
    for explore in (True, False):
        action, memory = agent.act(seen(VECTOR), None, explore=explore)
        assert action.shape == (E, 2) and action.abs().max() <= 1
        agent.act(seen(VECTOR), memory, explore=explore)


# Several seeds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dreamer", "dreamer-p2e"])
@pytest.mark.parametrize("explore", [True, False])
def test_three_seeds_do_what_each_does_alone(method, explore):
    seeds = (0, 3, 5)
    batch, memory = batch_of(tiny(method), seeds), None
    alone = [ready(of_seed(tiny(method), seed)) for seed in seeds]
    kept = [None] * 3
    for agent in [*batch.agents, *alone]:
        agent.streams.act.manual_seed(agent.cfg.seed)
    for step in range(3):
        obs = torch.stack([seen(seed=10 * seed + step) for seed in seeds])
        action, memory = batch.act(obs, memory, explore=explore)
        for s, agent in enumerate(alone):
            mine, kept[s] = agent.act(obs[s], kept[s], explore=explore)
            torch.testing.assert_close(action[s], mine)
            torch.testing.assert_close(memory.h[s], kept[s].h)
