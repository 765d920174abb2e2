"""Cloning: whose actions are repeated, and what that does to an actor.

T = 5 records, B = 3 rows, A = 7 actions.
"""

import numpy as np
import pytest
import torch

from lib.algos.dreamer import cloning
from lib.algos.dreamer.settings import CloningConfig
from lib.core.distributions import one_hot
from tests.algos.dreamer.models import FORCES, MOVES, generator, reached
from tests.algos.dreamer.test_behaviour import parts
from tests.dreamer_tiny import invented, new_agent, tiny

CFG = CloningConfig(weight=2.0)
T, B = 5, 3


def test_records_of_earlier_tasks_good_episodes_are_cloned_within_their_piece():
    # the second row's episode paid too little, the third's is of today's task
    task = np.array([[0, 0, 1]] * 4)
    better = np.array([[True, False, True]] * 4)
    first = np.zeros((4, 3), bool)
    first[0] = first[2] = True  # a new piece begins at record 2
    found = cloning.clonable(task, 1, better, first)
    assert found.T.tolist() == [[True, False, True, False], [False] * 4, [False] * 4]


def test_the_loss_is_the_mean_over_what_is_cloned():
    # shares 1/8, 2/8, 5/8 of three actions in every state; ln 8 = 2.079, ln 4 = 1.386
    stats = torch.log(torch.tensor([1.0, 2.0, 5.0])).expand(2, 2, 3)

    class Fixed:
        def __call__(self, features):
            return stats[: len(features)]

        def log_prob(self, stats, action):
            return (torch.log_softmax(stats, -1) * action).sum(-1)

    action = one_hot(torch.tensor([[2, 2], [0, 1], [1, 2]]), 3)  # that led to each record
    cloned = torch.tensor([[True, True], [True, False], [False, False]])
    loss, kept = cloning.cloning_loss(Fixed(), torch.zeros(3, 2, 4), action, cloned, CFG)
    assert kept["imitation"].item() == pytest.approx((2.0794 + 1.3863 + 1.3863) / 3, abs=1e-4)
    assert loss.item() == pytest.approx(2 * kept["imitation"].item())
    assert kept["cloned"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("actions", [MOVES, FORCES], ids=["moves", "forces"])
def test_cloning_reaches_the_actor_alone_and_nothing_where_nothing_is_cloned(actions):
    model, actor, critic, _ = parts(actions)
    features = torch.randn(T, B, actor.net[0].in_features, generator=generator())
    action = actions.random(T * B, generator()).view(T, B, -1)
    cloned = torch.ones(T, B, dtype=torch.bool)
    loss, _ = cloning.cloning_loss(actor, features, action, cloned, CFG)
    assert reached(loss, actor) and not reached(loss, model) and not reached(loss, critic)
    loss, kept = cloning.cloning_loss(actor, features, action, ~cloned, CFG)
    assert loss.item() == kept["cloned"].item() == 0
    loss.backward()
    assert all(not p.grad.any() for p in actor.parameters())


def test_a_bonus_makes_no_episode_better():
    # the second of two episodes is paid by the world, the first by its bonus alone
    agent = new_agent(tiny(replay__min_length=1))
    episodes = invented(agent, lengths=(11, 11))
    paid = torch.tensor([0.0, 1.0])
    bonus = episodes.reward.abs() + torch.tensor([[5.0], [0.0]])
    draws = generator()
    agent.replay.add(episodes._replace(reward=bonus), 0, draws, returned=paid)
    rows = agent.replay.draw(4, 5, draws)
    better = agent.replay.better(rows)
    assert (better == (agent.replay.returns == 1)[rows.place]).all() and better.any()
    assert (agent.replay.tasks_of(rows) == 0).all()


def test_agents_clone_from_their_second_task_on():
    agent = new_agent(tiny("continual-dreamer-cloning"))
    shares = []
    for task in range(2):
        if task:
            agent.begin_task(task)
        agent.store("learner", invented(agent, seed=task))
        agent.count_steps(agent.cfg.update.prefill)
        agent.update(6)
        shares.append(agent.report()["train/cloning/cloned"])
    assert shares[0] == 0 and 0 < shares[1] < 1
