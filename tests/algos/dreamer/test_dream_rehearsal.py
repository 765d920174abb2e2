"""Dream rehearsal: which dreams are imitated, and what that does to an actor.

H = 4 imagined steps, N = 5 starts out of 11 states, K = 3 dreams of each.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.algos.dreamer import dream_rehearsal
from lib.algos.dreamer.behaviour import TASK
from lib.algos.dreamer.settings import BehaviourConfig, RehearsalConfig
from lib.core.noise import draw_noise
from tests.algos.dreamer.models import FORCES, MOVES, H, generator, reached
from tests.algos.dreamer.test_behaviour import parts, starts

STATES, N, K = 11, 5, 3
CFG = RehearsalConfig(weight=2.0, starts=N, dreams=K, margin=0.0)
AIM = BehaviourConfig(horizon=H)


EARLIER = torch.ones(STATES, dtype=torch.bool)


def dreamt(model, actor, cfg=CFG, seed=0, eligible=EARLIER):
    layout = dream_rehearsal.noise(model.rssm, actor, STATES, H, cfg)
    noise = draw_noise(layout, generator(seed))
    return dream_rehearsal.dream(model, actor, *starts(model, STATES), eligible, noise, cfg)


def test_without_a_weight_nothing_is_drawn():
    model, actor, *_ = parts()
    assert dream_rehearsal.noise(model.rssm, actor, STATES, H, RehearsalConfig()) == {}


def test_every_start_is_dreamt_from_several_times_side_by_side():
    model, actor, *_ = parts()
    dreams, _ = dreamt(model, actor)
    assert dreams.action.shape[:2] == (H, N * K)
    begin = dreams.features[0].unflatten(0, (N, K))
    assert torch.equal(begin, begin[:, :1].expand_as(begin))
    assert len({tuple(row.tolist()) for row in begin[:, 0]}) == N
    after = dreams.features[-1].unflatten(0, (N, K))  # and goes on differently
    assert not torch.equal(after, after[:, :1].expand_as(after))


def test_more_starts_than_states_are_all_of_them():
    model, actor, *_ = parts()
    assert dreamt(model, actor, replace(CFG, starts=99))[0].action.shape[1] == STATES * K


def test_records_of_earlier_tasks_may_be_dreamt_from():
    task = np.array([[0, 2], [1, 1]])
    assert dream_rehearsal.eligible(task, 1, CFG).tolist() == [[True, False], [False, False]]
    assert dream_rehearsal.eligible(task, 1, replace(CFG, of="all")).all()


@pytest.mark.parametrize("count", [0, 2, 7])
def test_states_of_earlier_tasks_come_first(count):
    model, actor, _, slow = parts()
    some = torch.zeros(STATES, dtype=torch.bool)
    some[torch.randperm(STATES, generator=generator(3))[:count]] = True
    dreams, eligible = dreamt(model, actor, eligible=some)
    assert eligible.sum() == min(count, N)
    _, kept = dream_rehearsal.rehearsal_loss(model, actor, slow, dreams, eligible, AIM, CFG)
    assert kept["imitated"] <= min(count, N) / N  # others are never imitated
    assert (kept["imitated"] > 0) == (count > 0)


def test_the_best_dream_counts_where_it_beats_the_average_by_the_margin():
    grade = torch.tensor([[0.0, 0.9, 0.0], [0.5, 0.5, 0.5], [0.4, 0.3, 0.2]])
    index, imitated = dream_rehearsal.best_dreams(grade, 0.2)  # gains 0.6, 0 and 0.1
    assert index[0] == 1 and index[2] == 0
    assert imitated.tolist() == [True, False, False]


def test_imitation_averages_over_the_steps_that_are_reached():
    log_prob = torch.tensor([[-1.0, -2.0, -4.0], [-3.0, -6.0, -8.0]])
    weight = torch.tensor([[1.0, 1.0, 1.0], [0.5, 0.0, 1.0]])
    imitated = torch.tensor([True, True, False])
    loss = dream_rehearsal.imitation_loss(log_prob, weight, imitated)
    assert loss.item() == pytest.approx((1 + 2 + 0.5 * 3) / 2.5)
    nothing = dream_rehearsal.imitation_loss(log_prob, weight, torch.zeros(3, dtype=torch.bool))
    assert nothing.item() == 0


@pytest.mark.parametrize("actions", [MOVES, FORCES], ids=["moves", "forces"])
def test_rehearsal_reaches_the_actor_alone(actions):
    model, actor, critic, slow = parts(actions)
    loss, kept = dream_rehearsal.rehearsal_loss(model, actor, slow, *dreamt(model, actor), AIM, CFG)
    assert reached(loss, actor)
    assert not reached(loss, model) and not reached(loss, slow) and not reached(loss, critic)
    assert kept["imitated"].item() > 0
    assert loss.item() == pytest.approx(2 * kept["imitation"].item())


def test_where_no_dream_is_better_the_actor_stays(monkeypatch):
    model, actor, _, slow = parts()
    loss, kept = dream_rehearsal.rehearsal_loss(
        model, actor, slow, *dreamt(model, actor), AIM, replace(CFG, margin=1e3)
    )
    assert kept["imitated"].item() == 0 and kept["gain"].item() > 0
    loss.backward()
    assert all(not p.grad.any() for p in actor.parameters())


def test_an_actor_learns_from_its_dreams_the_action_that_pays(monkeypatch):
    # the reward is 1 after action 2 and 0 otherwise, whatever the state; the critic knows nothing
    model, actor, _, slow = parts()
    paying = replace(TASK, reward=lambda model, dreams: dreams.action_into[:-1, :, 2])
    monkeypatch.setattr(dream_rehearsal, "TASK", paying)
    optimiser = torch.optim.Adam(actor.parameters(), lr=1e-2)
    shares = []
    for seed in range(60):
        dreams, eligible = dreamt(model, actor, seed=seed)
        shares.append(dreams.action[..., 2].mean().item())
        loss, _ = dream_rehearsal.rehearsal_loss(model, actor, slow, dreams, eligible, AIM, CFG)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert shares[0] < 0.4 and shares[-1] > 0.7
