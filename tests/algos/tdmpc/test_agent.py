"""The method's gates: what is shared, frozen, carried and recreated, and who trains whom.

Sizes are those of `tests.tiny`: batch 11, episodes of 7 steps, windows of 3.
"""

import copy
import math

import pytest
import torch

from lib.algos.tdmpc import update
from lib.algos.tdmpc import value as imagined
from lib.algos.tdmpc.actor import Actor
from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.graph_key import next_key
from lib.algos.tdmpc.model import Dynamics
from lib.algos.tdmpc.presets import METHODS
from lib.algos.tdmpc.protections import pairs, rehearsal
from lib.algos.tdmpc.protections.rehearsal import Rehearsal
from lib.core import losses
from lib.core.errors import NonFiniteError
from lib.engine.seeds import norm_per_seed
from lib.replay.buffer import Episodes, Windows
from lib.replay.stored import TransitionStore
from lib.runner import checkpoint
from lib.runner.record import describe
from tests.algos.tdmpc.spies import addresses, applications, learning, protection, spied, steps
from tests.tiny import (
    BOX,
    continuous,
    copied,
    flat,
    in_task,
    invented,
    moved,
    new_agent,
    next_round,
    same,
    tiny,
)

B = 11
JOINT = {"protections__rehearsal__combine": "joint", "protections__rehearsal__weight": 3.0}


def rehearsal_of(agent: ContinualAgent) -> Rehearsal:
    return protection(agent, "rehearsal")


def stored(agent: ContinualAgent) -> TransitionStore:
    return protection(agent, "stored_replay").stored


# One shared world model ------------------------------------------------------------------------


def test_learner_and_reviewer_share_one_world_model_after_the_first_update(monkeypatch):
    agent = in_task(tiny(), 1)
    agent.update(1)
    next_round(agent)
    used, original = [], imagined.trajectory_value

    def noted(dynamics, heads, *args, **kwargs):
        used.append((addresses(dynamics), addresses(heads)))
        return original(dynamics, heads, *args, **kwargs)

    monkeypatch.setattr(imagined, "trajectory_value", noted)
    for role in ("learner", "reviewer"):
        used.clear()
        agent.act(torch.zeros(2, 3), None, role=role)
        assert used == [(addresses(agent.dynamics), addresses(agent.actor(role).heads))] * 2
    owned = [m for part in vars(agent.learner).values() for m in [part] if isinstance(m, Dynamics)]
    assert owned == []


def test_what_the_reviewer_learns_the_learner_plans_with():
    agent = in_task(tiny(), 1)
    before = copied(agent.dynamics)
    agent.update(1)
    assert moved(agent.dynamics, before)
    z, action = torch.zeros(1, 3), torch.eye(3)[:1]
    now = agent.capabilities().predict(z, action)
    assert torch.equal(now, agent.dynamics(z, action))


def test_the_learners_update_beside_a_reviewer_leaves_the_world_model_alone(monkeypatch):
    agent = in_task(tiny("drago-no-rehearsal"), 1)
    losses_of, stepped = spied(monkeypatch, update, "td_loss"), applications(monkeypatch)
    agent.update(1)
    learner, reviewer = agent.learner.heads, agent.reviewer.heads
    assert [kwargs["train_dynamics"] for _, kwargs, _ in losses_of] == [False, True]
    assert [where for where, _ in stepped] == [
        addresses(learner.reward_net, learner.q),
        addresses(learner.policy_net),
        addresses(reviewer.reward_net, reviewer.q),
        addresses(agent.dynamics),
        addresses(reviewer.policy_net),
    ]
    assert all(p.grad is None for p in agent.dynamics.parameters())


def test_the_reviewers_update_leaves_the_learners_heads_alone(monkeypatch):
    agent = in_task(tiny("drago-no-rehearsal"), 1)
    learners, original = [], update.review_batch

    def noted(*args, **kwargs):
        learners.append(copied(agent.learner.heads))  # the reviewer's update begins here
        return original(*args, **kwargs)

    monkeypatch.setattr(update, "review_batch", noted)
    before = copied(agent.reviewer.heads)
    agent.update(1)
    assert len(learners) == 1
    assert not moved(agent.learner.heads, learners[0]) and moved(agent.reviewer.heads, before)


def test_alone_the_learner_trains_the_world_model_itself():
    agent = in_task(tiny(), 0)
    before = copied(agent.dynamics)
    agent.update(1)
    assert agent.reviewer is None and agent.roles == ("learner",) and moved(agent.dynamics, before)


# The threshold ---------------------------------------------------------------------------------


def test_the_threshold_is_nine_and_a_half_at_first_and_constant_within_a_task():
    agent = in_task(tiny(), 0)
    agent.update(3)
    assert agent.threshold.item() == 9.5 and agent.next_threshold.item() != 9.5


@pytest.mark.parametrize(("task", "role"), [(0, "learner"), (1, "reviewer")])
def test_the_next_threshold_follows_the_score_of_updates_that_train_the_model(
    task, role, monkeypatch
):
    agent = in_task(tiny(), task)
    expected, fixed = agent.next_threshold.item(), agent.threshold.item()
    calls = spied(monkeypatch, update, "td_loss")
    agent.update(3)
    training = [answer for _, kwargs, answer in calls if kwargs["train_dynamics"]]
    assert len(training) == 3 and len(calls) == 3 * len(agent.roles)
    for _, result in training:
        expected = 0.9 * expected + 0.1 * result.score.item()
    assert agent.next_threshold.item() == pytest.approx(expected, rel=1e-5)
    assert agent.threshold.item() == fixed


def test_the_next_task_starts_with_the_threshold_as_saved():
    agent = in_task(tiny(), 0)
    agent.update(3)
    saved = agent.next_threshold.item()
    agent.begin_task(1)
    assert agent.threshold.item() == agent.next_threshold.item() == saved


def test_a_loaded_world_model_brings_its_threshold(tmp_path):
    agent = in_task(tiny(), 0)
    agent.update(3)
    path = tmp_path / "task-1.safetensors"
    checkpoint.save(path, agent.state_dict(with_replay=False))
    other = new_agent(tiny(seed=5))
    other.load_world_model(checkpoint.load(path)[0]["world_model"])
    other.begin_task(0)
    assert other.threshold.item() == other.next_threshold.item() == agent.next_threshold.item()
    assert other.reviewer is not None
    assert same(other.dynamics.state_dict(), agent.evaluated_dynamics.state_dict()) == []
    assert same(other.old_dynamics.state_dict(), agent.evaluated_dynamics.state_dict()) == []
    assert (
        same(
            rehearsal_of(other).frozen["old_vae"].state_dict(), rehearsal_of(agent).vae.state_dict()
        )
        == []
    )


# Rehearsal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("match", ["raw", "bounded"])
def test_rehearsal_against_an_unchanged_model_is_exactly_zero(match, monkeypatch):
    agent = in_task(tiny("drago-no-review", protections__rehearsal__match=match), 1)
    with monkeypatch.context() as still:
        stepped = applications(still, moving=False)
        agent.update(1)
    assert agent.report()["train/rehearsal/loss"] == 0
    assert not any(gradient.any() for gradient in stepped[-1][1])
    agent.update(1)
    assert agent.report()["train/rehearsal/loss"] > 0


def test_the_rehearsal_step_moves_the_world_model_alone(monkeypatch):
    agent = in_task(tiny("drago-no-review"), 1)
    agent.update(1)
    stepped, frozen = (
        applications(monkeypatch),
        [agent.old_dynamics, rehearsal_of(agent).frozen["old_vae"]],
    )
    before, model = [copied(module) for module in frozen], copied(agent.dynamics)
    agent.update(1)
    where, found = stepped[-1]
    assert where == addresses(agent.dynamics) and all(gradient.any() for gradient in found)
    assert moved(agent.dynamics, model)
    assert not any(moved(module, was) for module, was in zip(frozen, before, strict=True))


def test_rehearsal_uses_the_optimiser_of_the_main_loss_unclipped(monkeypatch):
    agent = in_task(tiny("drago-no-review", learning__grad_clip=1e-6), 1)
    agent.update(1)
    assert steps(agent.dynamics_adam) == 2  # the main loss and the rehearsal
    rehearsed = spied(monkeypatch, pairs, "rehearsal_loss")
    stepped = applications(monkeypatch, moving=False)
    agent.update(1)
    loss = pairs.rehearsal_loss(agent.dynamics, *rehearsed[0][0][1:])
    wanted = torch.autograd.grad(loss, list(agent.dynamics.parameters()))
    for mine, slow in zip(stepped[-1][1], wanted, strict=True):
        assert torch.allclose(mine.squeeze(0), slow, atol=1e-7, rtol=1e-3)
    assert norm_per_seed(stepped[-1][1]).item() > 1e-5


def test_dreams_are_fresh_raw_samples_of_the_frozen_vae(monkeypatch):
    agent = in_task(tiny("drago-no-review"), 1)
    calls = spied(monkeypatch, pairs, "rehearsal_loss")
    agent.update(2)
    (first, second) = [args for args, _, _ in calls]
    assert first[1].shape == (B, 3) and first[2].shape == (B, 3)
    assert not torch.equal(first[1], second[1])
    assert not ((first[2] == 0) | (first[2] == 1)).all()  # no projection onto one-hot actions
    with torch.no_grad():
        assert torch.equal(first[3], agent.old_dynamics.raw(first[1], first[2]))


def test_the_old_models_never_train():
    agent = in_task(tiny(), 1)
    frozen = (
        agent.old_dynamics,
        rehearsal_of(agent).frozen["old_vae"],
        agent.reviewer.heads.target_q,
    )
    before = [copied(m) for m in frozen[:2]]
    agent.update(4)
    assert not any(moved(m, b) for m, b in zip(frozen[:2], before, strict=True))
    for module in frozen:
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("every", [1, 3])
def test_rehearsal_happens_every_so_many_updates(every, monkeypatch):
    agent = in_task(tiny(protections__rehearsal__every=every), 1)
    calls = spied(monkeypatch, pairs, "rehearsal_loss")
    agent.update(7)
    assert len(calls) == len(range(0, 7, every))


def test_joint_rehearsal_is_one_step_of_the_summed_loss(monkeypatch):
    # that the sum is right is shown in test_learning.py
    agent = in_task(tiny(**JOINT), 1)
    agent.update(1)  # the models differ from now on
    rehearsed, stepped = spied(monkeypatch, pairs, "rehearsal_loss"), applications(monkeypatch)
    agent.running_means.clear()
    agent.update(1)
    assert [where for where, _ in stepped].count(addresses(agent.dynamics)) == 1
    assert len(rehearsed) == 1 and rehearsed[0][2].item() > 0
    assert agent.report()["train/rehearsal/loss"] == pytest.approx(rehearsed[0][2].item())


def test_nothing_is_rehearsed_in_the_first_task_or_without_the_switch(monkeypatch):
    monkeypatch.setattr(pairs, "rehearsal_loss", lambda *a: pytest.fail("rehearsed"))
    for cfg, task in ((tiny(), 0), (tiny("tdmpc"), 1), (tiny("drago-no-rehearsal"), 1)):
        in_task(cfg, task).update(2)


def test_stored_replay_rehearses_real_transitions_of_earlier_tasks(monkeypatch):
    agent = in_task(tiny("stored-replay"), 1)
    real = {tuple(row) for row in invented(agent, seed=0).obs.reshape(-1, 3).tolist()}
    calls = spied(monkeypatch, pairs, "rehearsal_loss")
    agent.update(1)
    _, obs, _, target, match = calls[0][0]
    assert match == "bounded"
    assert all(tuple(row) in real for row in [*obs.tolist(), *target.tolist()])


def test_stored_replay_holds_as_many_bytes_as_the_vae_and_multitask_everything():
    small = in_task(tiny("stored-replay"), 1)
    parameters = sum(p.numel() for p in rehearsal_of(small).vae.parameters())
    assert stored(small).capacity == parameters * 4 // 36
    assert len(stored(small)) == min(5 * 7, stored(small).capacity)
    everything = in_task(tiny("multitask"), 2)
    assert stored(everything).capacity is None and len(stored(everything)) == 2 * 5 * 7


# The generator ---------------------------------------------------------------------------------


def first_pairs(batch: Windows) -> torch.Tensor:
    return torch.cat((batch.obs[0], batch.action[0]), 1)


def test_the_vae_learns_the_first_pairs_of_the_batch_in_the_first_task(monkeypatch):
    agent = in_task(tiny(), 0)
    seen = spied(monkeypatch, update, "td_loss")
    trained = spied(monkeypatch, rehearsal, "vae_loss")
    agent.update(1)
    (_, _, batch, _), pairs = seen[0][0], trained[0][0][1]
    assert pairs.shape == (B, 6) and torch.equal(pairs, first_pairs(batch))


def test_later_it_learns_both_agents_pairs_and_dreams_of_the_frozen_vae(monkeypatch):
    agent = in_task(tiny(), 1)
    agent.update(1)  # the generators differ from now on
    noise = spied(monkeypatch, learning(agent), "noise")
    seen = spied(monkeypatch, update, "td_loss")
    trained = spied(monkeypatch, rehearsal, "vae_loss")
    agent.update(1)
    own, both = (first_pairs(args[2]) for args, _, _ in seen)
    pairs = trained[0][0][1]
    assert pairs.shape == (3 * B, 6) and torch.equal(pairs[: 2 * B], both)
    assert torch.equal(both[B:], own) and held_by(agent.reviewer, both[:B])
    code = noise[-1][2]["rehearsal/learnt"][0]
    with torch.no_grad():
        assert torch.equal(pairs[2 * B :], rehearsal_of(agent).frozen["old_vae"].decoder(code))
        assert not torch.allclose(pairs[2 * B :], rehearsal_of(agent).vae.decoder(code))


@pytest.mark.parametrize(
    ("method", "tasks"),
    [("drago", [True, True]), ("pseudo-rehearsal", [True, False]), ("tdmpc", [False, False])],
)
def test_methods_differ_in_when_the_vae_trains(method, tasks):
    for task, expected in enumerate(tasks):
        agent = in_task(tiny(method), task)
        before = copied(rehearsal_of(agent).vae)
        agent.update(1)
        assert moved(rehearsal_of(agent).vae, before) == expected


# The reviewer's data ---------------------------------------------------------------------------


def test_the_tasks_reward_is_never_stored_for_the_reviewer():
    agent = in_task(tiny(), 1)
    agent.update(2)
    episodes = invented(agent, seed=9)
    agent.store("reviewer", episodes._replace(reward=torch.full_like(episodes.reward, 777.0)))
    stored = agent.reviewer.buffer.reward[: agent.reviewer.buffer.episodes]
    assert stored.max() <= 1 and stored.min() >= -0.5
    obs, nxt = episodes.obs[:, :-1], episodes.obs[:, 1:]
    with torch.no_grad():
        errors = [
            losses.model_error(m(obs, episodes.action), nxt)
            for m in (agent.old_dynamics, agent.dynamics)
        ]
    expected = losses.review_reward(*errors, agent.threshold)
    assert torch.allclose(stored[-5:], expected, atol=1e-6)


def test_the_learners_own_rewards_stay_the_tasks():
    agent = in_task(tiny(), 1)
    agent.update(2)
    assert torch.equal(agent.learner.buffer.reward[:5], invented(agent, seed=1).reward)


def reviewed(agent: ContinualAgent, windows: Windows) -> torch.Tensor:
    """The review reward of every step at the agent's weights as they are."""
    models = (agent.old_dynamics, agent.dynamics)
    with torch.no_grad():
        errors = [
            losses.model_error(m(windows.obs[:-1], windows.action), windows.obs[1:]) for m in models
        ]
    return losses.review_reward(*errors, agent.threshold)


def test_the_learners_rows_are_relabelled_at_current_weights_for_every_step(monkeypatch):
    agent = in_task(tiny(), 1)
    agent.update(3)
    agent.threshold.fill_(1.0)  # near the score of these models, where the reward is steep
    calls = spied(monkeypatch, update, "review_batch")
    with monkeypatch.context() as still:
        applications(still, moving=False)
        agent.update(1)
    (*_, theirs), _, batch = calls[0]
    now = reviewed(agent, theirs)
    assert batch.reward.shape == (3, 2 * B) and theirs.reward.shape == (3, B)
    assert torch.allclose(batch.reward[:, B:], now, atol=1e-6)
    assert not torch.allclose(now, theirs.reward, atol=1e-2)
    agent.update(3)
    assert not torch.allclose(reviewed(agent, theirs), now, atol=1e-9)


@pytest.mark.parametrize("relabel", [False, True])
def test_the_reviewers_own_rows_keep_their_reward_unless_asked(relabel, monkeypatch):
    agent = in_task(tiny(reviewer__relabel=relabel), 1)
    agent.update(5)
    calls = spied(monkeypatch, update, "review_batch")
    agent.update(1)
    (_, _, _, mine, _), _, batch = calls[0]
    stored = agent.reviewer.buffer.reward.flatten()[mine.index]
    assert torch.equal(mine.reward[0], stored)
    assert torch.equal(batch.reward[0, :B], stored) != relabel
    assert torch.equal(batch.reward[:, :B], mine.reward) != relabel


@pytest.mark.parametrize(
    ("ratio", "mine"), [(0.05, 1), (0.25, 6), (0.5, 11), (0.75, 16), (1.0, 22), (0.001, 1)]
)
def test_any_share_of_reviewer_rows_works(ratio, mine, monkeypatch):
    agent = in_task(tiny(reviewer__ratio=ratio), 1)
    trained = spied(monkeypatch, update, "td_loss")
    priorities = spied(monkeypatch, losses, "td_priorities")
    policies = spied(monkeypatch, update, "policy_loss")
    agent.update(1)
    assert trained[1][0][2].reward.shape == (3, 22)
    assert [answer.shape for _, _, answer in priorities] == [(B,), (mine,)]
    assert policies[1][0][1].shape == (4, mine, 3)
    assert held_by(agent.reviewer, first_pairs(trained[1][0][2])[:mine])
    assert held_by(agent.learner, first_pairs(trained[1][0][2])[mine:])
    assert all(math.isfinite(v) for v in agent.report().values())


def held_by(actor: Actor, pairs: torch.Tensor) -> bool:
    """Whether every pair is in an actor's replay."""
    obs, action, _ = actor.buffer.transitions()
    stored = {tuple(row) for row in torch.cat((obs, action), 1).tolist()}
    return all(tuple(row) in stored for row in pairs.tolist())


def test_priorities_go_to_whom_the_rows_came_from(monkeypatch):
    agent = in_task(tiny(), 1)
    before = [actor.buffer.scaled_priority.clone() for actor in (agent.learner, agent.reviewer)]
    trained = spied(monkeypatch, update, "td_loss")
    agent.update(1)
    (own, learner), (both, reviewer) = [(args[2], answer[1]) for args, _, answer in trained]
    rho, alpha = agent.cfg.learning.rho, agent.cfg.learning.priority_alpha
    first = losses.td_priorities(learner.q, learner.target, rho)
    second = losses.td_priorities(
        reviewer.q[:, :, :B], reviewer.target[:, :B], rho, both.reward[:, :B]
    )
    assert (second >= 1.5).all()  # r + 2 with r above -1/2
    given = ((agent.learner, own.index, first), (agent.reviewer, both.index[:B], second))
    for (actor, index, priority), old in zip(given, before, strict=True):
        mass = actor.buffer.scaled_priority.flatten()
        for start in index.unique():  # a window drawn twice keeps one of its two priorities
            wanted = priority[index == start].pow(alpha)
            assert (mass[start] - wanted).abs().min() < 1e-5 * wanted.max()
        others = torch.ones(len(mass), dtype=torch.bool).index_fill(0, index, False)
        assert torch.equal(mass[others], old.flatten()[others])


# Counting visits -------------------------------------------------------------------------------


def reviewer_episode(agent: ContinualAgent, envs: int = 2, **kwargs) -> Episodes:
    """One episode in which nothing moves, acted by the reviewer."""
    obs = torch.full((envs, 3), -0.5)
    for _ in range(7):
        agent.act(obs, None, role="reviewer", **kwargs)
    episodes = invented(agent, envs)
    return episodes._replace(obs=obs[:, None].expand(envs, 8, 3).contiguous())


def test_every_reviewer_observation_is_counted_once_reset_and_end_included():
    agent = in_task(tiny(), 1)
    agent.reviewer.counts.table.zero_()
    agent.store("reviewer", reviewer_episode(agent))
    assert agent.reviewer.counts.table.sum() == 2 * 8
    assert agent.reviewer.counts.table.max() == 2 * 8


def test_evaluation_and_the_learner_count_nothing():
    agent = in_task(tiny(), 1)
    agent.reviewer.counts.table.zero_()
    reviewer_episode(agent, explore=False)
    agent.act(torch.zeros(2, 3), None)
    assert agent.reviewer.counts.table.sum() == 0


def test_the_bonus_is_used_in_the_reviewers_planning_alone(monkeypatch):
    agent = next_round(in_task(tiny(), 1))
    calls, counts = spied(monkeypatch, imagined, "trajectory_value"), agent.reviewer.counts
    agent.act(torch.zeros(2, 3), None, role="learner")
    agent.act(torch.zeros(2, 3), None, role="reviewer")
    learners, reviewers = [[calls[i][1]["bonus"] for i in turn] for turn in ((0, 1), (2, 3))]
    assert learners == [None, None]
    latent = torch.rand(7, 3) * 2 - 1
    for bonus in reviewers:
        assert torch.equal(bonus(latent), counts.rate(counts.live(), latent))


@pytest.mark.parametrize("kind", ["bounded", "legacy", "coin-flip", "none"])
@pytest.mark.parametrize("box", [False, True], ids=["discrete", "continuous"])
def test_every_count_rule_acts_stores_and_updates(kind, box):
    make = continuous if box else tiny
    cfg = make(reviewer__count_bonus=kind)
    agent = in_task(cfg, 1, **({"actions": BOX} if box else {}))
    agent.act(torch.zeros(2, 3), None, role="reviewer")
    agent.store("reviewer", invented(agent, seed=5))
    agent.update(2)
    assert all(math.isfinite(v) for v in agent.report().values())


# Rounds ----------------------------------------------------------------------------------------


def test_all_roles_of_a_round_act_at_the_step_that_it_began_with():
    # the published loop collects the episodes of both roles, here 5 of 7 steps each, then moves on
    agent = in_task(tiny(), 1)  # one round done
    assert (agent.schedule_steps("learner"), agent.schedule_steps("reviewer")) == (70, 0)
    agent.store("learner", invented(agent, seed=7))
    assert (agent.steps, agent.schedule_steps("reviewer")) == (105, 70)


def test_targets_follow_three_times_in_every_reviewed_round_of_100_steps():
    # published: update i of a round is made at step = round's beginning + i, and the target moves
    # where step % 40 == 0. A reviewed round lasts 200 steps and makes 100 updates, at 200 k, ...,
    # 200 k + 99, three of them multiples of 40. Without review rounds last 100: 3, then 2.
    agent = in_task(tiny(learning__ema_every=40), 1)
    moves = {}
    for length in (200, 100):
        for round_ in range(4):
            agent.round_steps, agent.round_updates = length * round_, 0
            due = []
            for _ in range(100):
                due.append(next_key(agent).follows)
                agent.round_updates += 1
            moves[length, round_] = sum(due)
    assert [moves[200, k] for k in range(4)] == [3, 3, 3, 3]
    assert [moves[100, k] for k in range(4)] == [3, 2, 3, 2]


# Targets ---------------------------------------------------------------------------------------


def test_target_critics_follow_only_every_so_many_updates():
    agent = in_task(tiny("tdmpc", learning__ema_every=3), 0)
    agent.update(1)  # update 0 follows; the critics start equal to their target
    for follows in (False, False, True, False):
        before = copied(agent.learner.heads.target_q)
        online = copied(agent.learner.heads.q)
        agent.update(1)
        now = agent.learner.heads.target_q.state_dict()
        assert moved(agent.learner.heads.target_q, before) == follows
        if follows:
            q = agent.learner.heads.q.state_dict()
            for name, value in now.items():
                assert torch.allclose(value, before[name] + 0.01 * (q[name] - before[name]))
        assert moved(agent.learner.heads.q, online)


def test_the_target_follows_by_a_hundredth_of_the_way():
    # 1 + .01 * (3 - 1) = 1.02; a learning rate of 0 leaves the critics where they are
    agent = in_task(tiny("tdmpc", learning__lr=0.0), 0)
    heads = agent.learner.heads
    with torch.no_grad():
        for online, target in zip(heads.q.parameters(), heads.target_q.parameters(), strict=True):
            online.fill_(3.0)
            target.fill_(1.0)
    agent.update(1)
    for online, target in zip(heads.q.parameters(), heads.target_q.parameters(), strict=True):
        assert (online == 3).all() and torch.allclose(target, torch.full_like(target, 1.02))


# Task boundaries -------------------------------------------------------------------------------


def test_a_boundary_freezes_copies_and_recreates():
    agent = in_task(tiny(), 0)
    agent.update(3)
    dynamics, vae, heads = agent.dynamics, rehearsal_of(agent).vae, copied(agent.learner.heads)
    model, generator = copied(dynamics), copied(vae)
    learner, adam = agent.learner, agent.dynamics_adam
    agent.begin_task(1)
    # carried, still the same and trainable
    assert agent.dynamics is dynamics and not moved(dynamics, model)
    assert rehearsal_of(agent).vae is vae and not moved(vae, generator)
    assert all(p.requires_grad for m in (dynamics, vae) for p in m.parameters())
    # frozen as they were
    assert not moved(agent.old_dynamics, model) and not moved(
        rehearsal_of(agent).frozen["old_vae"], generator
    )
    assert agent.old_dynamics is not dynamics and rehearsal_of(agent).frozen["old_vae"] is not vae
    # recreated
    assert agent.learner is not learner and moved(agent.learner.heads, heads)
    assert agent.learner.buffer.episodes == 0 and agent.reviewer.buffer.episodes == 0
    assert agent.dynamics_adam is not adam and steps(agent.dynamics_adam) == 0
    assert not any(m.any() for m in [*agent.dynamics_adam.exp_avg, *agent.dynamics_adam.exp_avg_sq])
    assert (agent.task, agent.steps, agent.updates, agent.pending) == (1, 0, 0, 0)
    assert not agent.reviewer.counts.table.any()
    assert moved(agent.reviewer.heads, agent.learner.heads.state_dict())


def test_one_copy_stands_for_all_earlier_tasks():
    agent = in_task(tiny(), 1)
    agent.update(3)
    agent.begin_task(2)
    assert same(agent.old_dynamics.state_dict(), agent.dynamics.state_dict()) == []
    assert not agent.reviewer.counts.table.any()


def test_from_scratch_nothing_is_carried():
    agent = in_task(tiny("scratch"), 0)
    agent.update(2)
    before, old = copied(agent.dynamics), agent.dynamics
    agent.begin_task(1)
    assert agent.dynamics is not old and moved(agent.dynamics, before)
    assert agent.old_dynamics is None and agent.roles == ("learner",)


def test_the_horizon_follows_the_task_and_its_last_value_repeats():
    agent = new_agent(tiny("tdmpc", planner__horizon=[2, 4, 3]))
    horizons = []
    for task in range(5):
        agent.begin_task(task)
        horizons.append((agent.horizon, agent.learner.buffer.horizon))
    assert horizons == [(2, 2), (4, 4), (3, 3), (3, 3), (3, 3)]


def test_consolidation_pulls_from_the_second_task_on(monkeypatch):
    agent = in_task(tiny("ewc"), 0)
    calls = spied(monkeypatch, losses, "ewc_penalty")
    agent.update(1)
    assert calls == []
    agent.begin_task(1)
    agent.store("learner", invented(agent))
    agent.update(2)
    penalties = [answer.item() for _, _, answer in calls]
    assert len(penalties) == 2 and penalties[0] == 0 and penalties[1] > 0


def test_without_its_strength_nothing_is_consolidated(monkeypatch):
    agent = in_task(tiny("tdmpc"), 1)
    assert agent.protections == [] and protection(agent, "ewc").anchors is None
    penalties = spied(monkeypatch, losses, "ewc_penalty")
    agent.update(2)
    assert penalties == []


# When to update --------------------------------------------------------------------------------


def test_updates_are_due_once_per_learner_step_after_the_warm_up():
    agent = new_agent(tiny("tdmpc", learning__seed_steps=21, learning__updates_per_step=1.0))
    agent.begin_task(0)
    due = []
    for _ in range(4):  # 2 episodes of 7 steps: 14, 28, 42, 56 steps
        agent.store("learner", invented(agent, 2))
        due.append(agent.pending)
    assert due == [0, 14, 28, 42]
    agent.update(3)
    assert agent.pending == 39 and agent.updates == 3


def test_reviewer_steps_count_as_steps_but_bring_no_updates():
    agent = in_task(tiny(), 1)
    before = agent.pending, agent.steps
    agent.store("reviewer", invented(agent, 2))
    assert (agent.pending, agent.steps) == (before[0], before[1] + 14)


@pytest.mark.parametrize(("rate", "due"), [(0.5, 17), (2.0, 70), (0.25, 8)])
def test_a_share_of_updates_per_step_adds_up(rate, due):
    agent = in_task(tiny("tdmpc", learning__updates_per_step=rate), 0)
    assert agent.pending == due  # of 35 steps


# Every method ----------------------------------------------------------------------------------


def both(method: str, box: bool, task: int) -> tuple[ContinualAgent, ContinualAgent]:
    """An agent in mid-task, and a stranger of another seed."""
    make, kwargs = (continuous, {"actions": BOX}) if box else (tiny, {})
    agent = in_task(make(method), task, **kwargs)
    agent.update(2)
    return agent, new_agent(make(method), **kwargs)


@pytest.mark.parametrize("task", [0, 1], ids=["first task", "second task"])
@pytest.mark.parametrize("box", [False, True], ids=["discrete", "continuous"])
@pytest.mark.parametrize("method", METHODS)
def test_a_saved_agent_goes_on_exactly_as_if_never_interrupted(method, box, task, tmp_path):
    agent, other = both(method, box, task)
    leaves = [v for v in flat(agent.state_dict()).values() if isinstance(v, torch.Tensor)]
    assert all(v.isfinite().all() for v in leaves)
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, {"agent": agent.state_dict(), "streams": agent.streams.state_dict()})
    state, _ = checkpoint.load(path)
    other.load_state_dict(state["agent"])
    other.streams.load_state_dict(state["streams"])
    assert same(agent.state_dict(), other.state_dict()) == []
    obs, acted = torch.linspace(-1, 1, 15).view(5, 3), []
    for each in (agent, other):
        acted.append(torch.cat([each.act(obs, None, role=role)[0] for role in each.roles]))
        each.update(3)
        each.store(each.roles[-1], invented(each, seed=4))
    assert torch.equal(*acted)
    assert same(agent.state_dict(), other.state_dict()) == []
    assert agent.report() == other.report()
    for each in (agent, other):
        each.begin_task(task + 1)
    assert same(agent.state_dict(), other.state_dict()) == []


@pytest.mark.parametrize("method", METHODS)
def test_every_method_stays_finite_over_two_tasks_and_reports_known_metrics(method):
    agent = in_task(tiny(method), 1)
    agent.store(agent.roles[-1], invented(agent, seed=3))
    agent.update(3)
    report = agent.report()
    assert all(math.isfinite(v) for v in report.values())
    for name in report:
        describe(name)
    assert "train/learner/consistency" in report
    assert any("reviewer" in name for name in report) == agent.cfg.method.review
    assert agent.report().keys() <= report.keys()  # cleared


@pytest.mark.parametrize("combine", ["separate", "joint"])
@pytest.mark.parametrize("match", ["raw", "bounded"])
@pytest.mark.parametrize(
    ("shape", "norm"), [("code", "squared"), ("paper", "squared"), ("paper", "absolute")]
)
def test_every_option_of_the_method_stays_finite(combine, match, shape, norm):
    cfg = tiny(
        protections__rehearsal__combine=combine,
        protections__rehearsal__match=match,
        reviewer__shape=shape,
        reviewer__norm=norm,
    )
    agent = in_task(cfg, 1)
    agent.update(2)
    assert all(math.isfinite(v) for v in agent.report().values())


# Looking in ------------------------------------------------------------------------------------


def test_a_broken_loss_is_named_with_its_place():
    agent = in_task(tiny("tdmpc"), 0)
    agent.learner.buffer.reward[:5] = math.nan
    agent.update(1)
    with pytest.raises(NonFiniteError, match="learner/reward.*in task 1 near update 1") as error:
        agent.check_finite()
    assert "\n" not in str(error.value) and "_update" not in str(error.value)
    with pytest.raises(NonFiniteError):
        agent.report()


@pytest.mark.parametrize(
    ("method", "task", "dreams", "reviews"),
    [
        ("tdmpc", 0, False, False),
        ("drago", 0, True, False),
        ("drago", 1, True, True),
        ("drago-no-rehearsal", 1, False, True),
    ],
)
def test_an_audit_sees_what_the_method_has(method, task, dreams, reviews):
    agent = in_task(tiny(method), task)
    can, draws = agent.capabilities(), torch.Generator().manual_seed(0)
    obs, action = torch.zeros(5, 3), torch.eye(3)[[0, 1, 2, 0, 1]]
    assert can.predict(obs, action).shape == (5, 3)
    assert not can.predict(obs, action).requires_grad
    assert (can.generate is not None) == dreams and (can.review is not None) == reviews
    before = agent.streams.update.get_state()
    if dreams:
        assert can.generate(13, draws).shape == (13, 6)
    if reviews:
        assert can.review(obs, action, obs).shape == (5,)
    assert torch.equal(agent.streams.update.get_state(), before)


@pytest.mark.parametrize("seen", [1, 3, 8])
def test_imagination_goes_on_from_the_last_record_with_the_episodes_actions(seen):
    agent = in_task(tiny(), 0)
    agent.update(1)
    episodes, draws = invented(agent, 1), torch.Generator()
    obs, action = episodes.obs[0], episodes.action[0]  # 8 records, 7 decisions
    told = agent.capabilities().imagine(obs, action, seen, draws, None).obs
    slow = [*obs[:seen]]
    for step in range(seen - 1, 7):
        slow.append(agent.capabilities().predict(slow[-1], action[step]))
    assert told.shape == obs.shape and torch.allclose(told, torch.stack(slow), atol=1e-6)


def test_copied_heads_act_as_the_learner_did():
    agent = in_task(tiny(), 0)
    agent.update(2)
    saved = copy.deepcopy(agent.capabilities().heads.save())
    agent.update(2)
    streams = agent.streams.state_dict()
    kept = agent.capabilities().heads.load(saved)
    assert same(kept.heads.state_dict(), saved["heads"]) == [] and kept.horizon == agent.horizon
    assert not any(p.requires_grad for p in kept.heads.parameters())
    assert same(agent.streams.state_dict(), streams) == []


def test_loading_agents_takes_heads_and_the_reviewer_falls_back_to_the_learners():
    source = in_task(tiny(), 0)
    source.update(2)
    state = copy.deepcopy(source.state_dict(with_replay=False))
    other = new_agent(tiny(seed=5))
    other.capabilities().transfer.load_world_model(state["world_model"])
    other.begin_task(0)
    other.capabilities().transfer.load_heads(state)
    for actor in (other.learner, other.reviewer):
        assert same(actor.heads.state_dict(), source.evaluated_heads.state_dict()) == []
    reviewed = in_task(tiny(), 1)
    other.capabilities().transfer.load_heads(copy.deepcopy(reviewed.state_dict(with_replay=False)))
    assert same(other.reviewer.heads.state_dict(), reviewed.reviewer.heads.state_dict()) == []


# Learning rates --------------------------------------------------------------------------------


def rates(agent: ContinualAgent) -> list[float]:
    actors = [agent.learner, *([agent.reviewer] if agent.reviewer else [])]
    adams = [agent.dynamics_adam, rehearsal_of(agent).trained["vae"].adam]
    adams += [adam for a in actors for adam in (a.heads_adam, a.policy_adam)]
    return [adam.lr.item() for adam in adams]


def test_learning_rates_fall_linearly_over_a_task_and_start_afresh_with_the_next():
    agent = in_task(tiny(learning__lr_end=0.1), 1)
    # 2 roles x 5 episodes x 7 steps = 70 of 84 steps: 1 - 0.9 * 70 / 84 = 0.25
    agent.update(1)
    assert rates(agent) == pytest.approx([0.25e-3] * 6)
    agent.steps = 840  # past the budget they stay where they are
    agent.update(1)
    assert rates(agent) == pytest.approx([1e-4] * 6)
    agent.begin_task(2)
    assert rates(agent) == pytest.approx([1e-3] * 6)


def test_learning_rates_stay_put_unless_asked():
    agent = in_task(tiny(learning__lr_end=1.0), 1)
    agent.update(1)
    assert rates(agent) == pytest.approx([1e-3] * 6)
