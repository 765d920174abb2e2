"""The method's gates: what is shared, frozen, carried and recreated, and who trains whom.

Sizes are those of `tests.tiny`: batch 11, episodes of 7 steps, windows of 3.
"""

import copy
import math

import pytest
import torch

from lib import losses
from lib.errors import NonFiniteError
from lib.replay.buffer import Episodes
from lib.runner import checkpoint
from lib.runner.record import describe
from lib.tdmpc import drago, update
from lib.tdmpc.drago import ContinualAgent
from lib.tdmpc.model import Dynamics
from lib.tdmpc.presets import METHODS
from tests.tiny import (
    BOX,
    continuous,
    copied,
    flat,
    in_task,
    invented,
    moved,
    new_agent,
    same,
    tiny,
)

B = 11


def spied(monkeypatch, owner: object, name: str) -> list[tuple]:
    """Lets a function work as before, and notes its arguments and what it returned."""
    original, calls = getattr(owner, name), []

    def wrapper(*args, **kwargs):
        answer = original(*args, **kwargs)
        calls.append((args, kwargs, answer))
        return answer

    monkeypatch.setattr(owner, name, wrapper)
    return calls


# One shared world model ------------------------------------------------------------------------


def test_learner_and_reviewer_share_one_world_model_after_the_first_update(monkeypatch):
    agent = in_task(tiny(), 1)
    agent.update(1)
    calls = spied(monkeypatch, drago.planner, "trajectory_value")
    for role in ("learner", "reviewer"):
        agent.act(torch.zeros(2, 3), None, role=role)
    used = {id(args[0]) for args, _, _ in calls}
    assert used == {id(agent.dynamics)}
    owned = [m for part in vars(agent.learner).values() for m in [part] if isinstance(m, Dynamics)]
    assert owned == []


def test_what_the_reviewer_learns_the_learner_plans_with():
    agent = in_task(tiny(), 1)
    before = copied(agent.dynamics)
    agent.update(1)
    assert moved(agent.dynamics, before)
    z, action = torch.zeros(1, 3), torch.eye(3)[:1]
    now = agent.world(torch.Generator()).predict(z, action)
    assert torch.equal(now, agent.dynamics(z, action))


def test_the_learners_update_beside_a_reviewer_leaves_the_world_model_alone(monkeypatch):
    agent = in_task(tiny(method__rehearse="nothing"), 1)
    before, heads = copied(agent.dynamics), copied(agent.learner.heads)
    own = agent.learner.buffer.sample(B, agent.streams.update)
    agent._train("learner", own, B, None, with_dynamics=False)
    assert not moved(agent.dynamics, before) and moved(agent.learner.heads, heads)
    assert all(p.grad is None for p in agent.dynamics.parameters())
    assert not agent.dynamics_optimizer.state


def test_the_reviewers_update_leaves_the_learners_heads_alone():
    agent = in_task(tiny(), 1)
    own = agent.learner.buffer.sample(B, agent.streams.update)
    before = copied(agent.learner.heads)
    batch, rows = agent._review_batch(own)
    agent._train("reviewer", batch, rows, None, with_dynamics=True)
    assert not moved(agent.learner.heads, before)


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
    calls = spied(monkeypatch, update, "td_step")
    agent.update(3)
    training = [answer for _, kwargs, answer in calls if kwargs["dynamics_optimizer"] is not None]
    assert len(training) == 3 and len(calls) == 3 * len(agent.roles)
    for answer in training:
        expected = 0.9 * expected + 0.1 * answer.score.item()
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
    assert same(other.dynamics.state_dict(), agent.dynamics.state_dict()) == []
    assert same(other.retention.old_dynamics.state_dict(), agent.dynamics.state_dict()) == []
    assert same(other.retention.old_vae.state_dict(), agent.retention.vae.state_dict()) == []


# Rehearsal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("match", ["raw", "bounded"])
def test_rehearsal_against_an_unchanged_model_is_exactly_zero(match):
    agent = in_task(tiny(rehearsal__match=match), 1)
    assert agent.retention.rehearsal(agent.dynamics).item() == 0
    agent.update(1)
    assert agent.retention.rehearsal(agent.dynamics).item() > 0


def test_the_rehearsal_step_moves_the_world_model_alone(monkeypatch):
    agent = in_task(tiny("drago-no-review"), 1)
    agent.update(1)
    everything = {
        "heads": agent.learner.heads,
        "vae": agent.retention.vae,
        "old vae": agent.retention.old_vae,
        "old dynamics": agent.retention.old_dynamics,
    }
    before = {name: copied(module) for name, module in everything.items()}
    model = copied(agent.dynamics)
    monkeypatch.setattr(agent, "_train", lambda *a, **k: None)
    monkeypatch.setattr(agent.retention, "train_vae", lambda pairs: None)
    agent.update(1)
    assert moved(agent.dynamics, model)
    assert not any(moved(module, before[name]) for name, module in everything.items())


def test_rehearsal_uses_the_optimiser_of_the_main_loss_unclipped(monkeypatch):
    agent = in_task(tiny("drago-no-review"), 1)
    calls = spied(monkeypatch, drago.optim, "step")
    agent.update(1)
    last_args, last_kwargs, _ = calls[-1]
    assert last_args[0] == [agent.dynamics_optimizer] and len(last_args) == 2 and not last_kwargs
    steps = {int(entry["step"]) for entry in agent.dynamics_optimizer.state.values()}
    assert steps == {2}  # the main loss and the rehearsal


def test_dreams_are_fresh_raw_samples_of_the_frozen_vae(monkeypatch):
    agent = in_task(tiny("drago-no-review"), 1)
    calls = spied(monkeypatch, drago.update, "rehearsal_loss")
    agent.update(2)
    (first, second) = [args for args, _, _ in calls]
    assert first[1].shape == (B, 3) and first[2].shape == (B, 3)
    assert not torch.equal(first[1], second[1])
    assert not ((first[2] == 0) | (first[2] == 1)).all()  # no projection onto one-hot actions
    with torch.no_grad():
        assert torch.equal(first[3], agent.retention.old_dynamics.raw(first[1], first[2]))


def test_the_old_models_never_train():
    agent = in_task(tiny(), 1)
    frozen = (agent.retention.old_dynamics, agent.retention.old_vae, agent.reviewer.heads.target_q)
    before = [copied(m) for m in frozen[:2]]
    agent.update(4)
    assert not any(moved(m, b) for m, b in zip(frozen[:2], before, strict=True))
    for module in frozen:
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("every", [1, 3])
def test_rehearsal_happens_every_so_many_updates(every, monkeypatch):
    agent = in_task(tiny(rehearsal__every=every), 1)
    calls = spied(monkeypatch, agent.retention, "rehearsal")
    agent.update(7)
    assert len(calls) == len(range(0, 7, every))


def test_joint_rehearsal_is_one_step_of_the_summed_loss(monkeypatch):
    agent = in_task(tiny(rehearsal__combine="joint", rehearsal__weight=3.0), 1)
    agent.update(1)  # the models differ from now on
    rehearsed = spied(monkeypatch, agent.retention, "rehearsal")
    trained = spied(monkeypatch, update, "td_step")
    before = int(next(iter(agent.dynamics_optimizer.state.values()))["step"])
    agent.update(1)
    learner, reviewer = [kwargs["extra"] for _, kwargs, _ in trained]
    assert learner is None and len(rehearsed) == 1
    assert reviewer.item() == pytest.approx(3 * rehearsed[0][2].item())
    after = int(next(iter(agent.dynamics_optimizer.state.values()))["step"])
    assert after == before + 1


def test_nothing_is_rehearsed_in_the_first_task_or_without_the_switch(monkeypatch):
    for cfg, task in ((tiny(), 0), (tiny("tdmpc"), 1), (tiny("drago-no-rehearsal"), 1)):
        agent = in_task(cfg, task)
        monkeypatch.setattr(agent.retention, "rehearsal", lambda model: pytest.fail("rehearsed"))
        agent.update(2)


def test_stored_replay_rehearses_real_transitions_of_earlier_tasks(monkeypatch):
    agent = in_task(tiny("stored-replay"), 1)
    real = {tuple(row) for row in invented(agent, seed=0).obs.reshape(-1, 3).tolist()}
    calls = spied(monkeypatch, update, "rehearsal_loss")
    agent.update(1)
    _, obs, _, target, match = calls[0][0]
    assert match == "bounded"
    assert all(tuple(row) in real for row in [*obs.tolist(), *target.tolist()])


def test_stored_replay_holds_as_many_bytes_as_the_vae_and_multitask_everything():
    small = in_task(tiny("stored-replay"), 1)
    parameters = sum(p.numel() for p in small.retention.vae.parameters())
    assert small.retention.stored.capacity == parameters * 4 // 36
    assert len(small.retention.stored) == min(5 * 7, small.retention.stored.capacity)
    everything = in_task(tiny("multitask"), 2)
    assert (
        everything.retention.stored.capacity is None
        and len(everything.retention.stored) == 2 * 5 * 7
    )


# The generator ---------------------------------------------------------------------------------


def test_the_vae_learns_the_first_pairs_of_the_batch_in_the_first_task(monkeypatch):
    agent = in_task(tiny(), 0)
    drawn = spied(monkeypatch, agent.learner.buffer, "sample")
    trained = spied(monkeypatch, update, "vae_step")
    agent.update(1)
    batch, pairs = drawn[0][2], trained[0][0][1]
    assert pairs.shape == (B, 6)
    assert torch.equal(pairs, torch.cat((batch.obs[0], batch.action[0]), 1))


def test_later_it_learns_both_agents_pairs_and_dreams_of_the_frozen_vae(monkeypatch):
    agent = in_task(tiny(), 1)
    drawn = [spied(monkeypatch, a.buffer, "sample") for a in (agent.reviewer, agent.learner)]
    dreamt = spied(monkeypatch, agent.retention.old_vae, "sample")
    current = spied(monkeypatch, agent.retention.vae, "sample")
    trained = spied(monkeypatch, update, "vae_step")
    agent.update(1)
    pairs = trained[0][0][1]
    assert pairs.shape == (3 * B, 6) and current == []
    for part, calls in zip(pairs.split(B), drawn, strict=False):
        batch = calls[0][2]
        assert torch.equal(part, torch.cat((batch.obs[0], batch.action[0]), 1))
    assert torch.equal(pairs[2 * B :], dreamt[0][2])


@pytest.mark.parametrize(
    ("method", "tasks"),
    [("drago", [True, True]), ("pseudo-rehearsal", [True, False]), ("tdmpc", [False, False])],
)
def test_methods_differ_in_when_the_vae_trains(method, tasks):
    for task, expected in enumerate(tasks):
        agent = in_task(tiny(method), task)
        before = copied(agent.retention.vae)
        agent.update(1)
        assert moved(agent.retention.vae, before) == expected


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
            for m in (agent.retention.old_dynamics, agent.dynamics)
        ]
    expected = losses.review_reward(*errors, agent.threshold)
    assert torch.allclose(stored[-5:], expected, atol=1e-6)


def test_the_learners_own_rewards_stay_the_tasks():
    agent = in_task(tiny(), 1)
    agent.update(2)
    assert torch.equal(agent.learner.buffer.reward[:5], invented(agent, seed=1).reward)


def test_the_learners_rows_are_relabelled_at_current_weights_for_every_step():
    agent = in_task(tiny(), 1)
    agent.update(1)
    own = agent.learner.buffer.sample(B, agent.streams.update)
    batch, rows = agent._review_batch(own)
    assert rows == B and batch.reward.shape == (3, 2 * B)
    with torch.no_grad():
        errors = [
            losses.model_error(m(own.obs[:-1], own.action), own.obs[1:])
            for m in (agent.retention.old_dynamics, agent.dynamics)
        ]
    now = losses.review_reward(*errors, agent.threshold)
    assert torch.allclose(batch.reward[:, B:], now, atol=1e-6)
    agent.update(3)
    later, _ = agent._review_batch(own)
    assert not torch.allclose(later.reward[:, B:], now, atol=1e-9)


@pytest.mark.parametrize("relabel", [False, True])
def test_the_reviewers_own_rows_keep_their_reward_unless_asked(relabel):
    agent = in_task(tiny(reviewer__relabel=relabel), 1)
    agent.update(5)
    own = agent.learner.buffer.sample(B, agent.streams.update)
    batch, rows = agent._review_batch(own)
    stored = agent.reviewer.buffer._windows(batch.index[:rows], batch.weight[:rows]).reward
    assert torch.equal(batch.reward[:, :rows], stored) != relabel


@pytest.mark.parametrize(
    ("ratio", "mine"), [(0.05, 1), (0.25, 6), (0.5, 11), (0.75, 16), (1.0, 22), (0.001, 1)]
)
def test_any_share_of_reviewer_rows_works(ratio, mine, monkeypatch):
    agent = in_task(tiny(reviewer__ratio=ratio), 1)
    trained = spied(monkeypatch, update, "td_step")
    priorities = spied(monkeypatch, agent.reviewer.buffer, "set_priorities")
    policies = spied(monkeypatch, update, "policy_step")
    agent.update(1)
    assert trained[1][0][2].reward.shape == (3, 22)
    assert priorities[0][0][0].shape == priorities[0][0][1].shape == (mine,)
    assert policies[1][0][1].shape == (4, mine, 3)
    assert all(math.isfinite(v) for v in agent.report().values())


def test_priorities_go_to_whom_the_rows_came_from(monkeypatch):
    agent = in_task(tiny(), 1)
    notes = [
        spied(monkeypatch, a.buffer, "set_priorities") for a in (agent.learner, agent.reviewer)
    ]
    trained = spied(monkeypatch, update, "td_step")
    agent.update(1)
    (own, _, learner), (both, _, reviewer) = [(c[0][2], c[1], c[2]) for c in trained]
    rho = agent.cfg.learning.rho
    index, priority = notes[0][0][0]
    assert torch.equal(index, own.index)
    assert torch.allclose(priority, losses.td_priorities(learner.q, learner.target, rho))
    index, priority = notes[1][0][0]
    assert torch.equal(index, both.index[:B])
    expected = losses.td_priorities(
        reviewer.q[:, :, :B], reviewer.target[:, :B], rho, both.reward[:, :B]
    )
    assert torch.allclose(priority, expected)
    assert (priority >= 1.5).all()  # r + 2 with r above -1/2


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
    agent = in_task(tiny(), 1)
    calls = spied(monkeypatch, drago.planner, "trajectory_value")
    agent.act(torch.zeros(2, 3), None, role="learner")
    agent.act(torch.zeros(2, 3), None, role="reviewer")
    bonuses = [kwargs["bonus"] for _, kwargs, _ in calls]
    assert bonuses[0] is None and bonuses[-1] == agent.reviewer.counts.bonus


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


# Task boundaries -------------------------------------------------------------------------------


def test_a_boundary_freezes_copies_and_recreates():
    agent = in_task(tiny(), 0)
    agent.update(3)
    dynamics, vae, heads = agent.dynamics, agent.retention.vae, copied(agent.learner.heads)
    model, generator = copied(dynamics), copied(vae)
    learner, optimizer = agent.learner, agent.dynamics_optimizer
    agent.begin_task(1)
    # carried, still the same and trainable
    assert agent.dynamics is dynamics and not moved(dynamics, model)
    assert agent.retention.vae is vae and not moved(vae, generator)
    assert all(p.requires_grad for m in (dynamics, vae) for p in m.parameters())
    # frozen as they were
    assert not moved(agent.retention.old_dynamics, model) and not moved(
        agent.retention.old_vae, generator
    )
    assert agent.retention.old_dynamics is not dynamics and agent.retention.old_vae is not vae
    # recreated
    assert agent.learner is not learner and moved(agent.learner.heads, heads)
    assert agent.learner.buffer.episodes == 0 and agent.reviewer.buffer.episodes == 0
    assert agent.dynamics_optimizer is not optimizer and not agent.dynamics_optimizer.state
    assert (agent.task, agent.steps, agent.updates, agent.pending) == (1, 0, 0, 0)
    assert not agent.reviewer.counts.table.any()
    assert moved(agent.reviewer.heads, agent.learner.heads.state_dict())


def test_one_copy_stands_for_all_earlier_tasks():
    agent = in_task(tiny(), 1)
    agent.update(3)
    agent.begin_task(2)
    assert same(agent.retention.old_dynamics.state_dict(), agent.dynamics.state_dict()) == []
    assert not agent.reviewer.counts.table.any()


def test_from_scratch_nothing_is_carried():
    agent = in_task(tiny("scratch"), 0)
    agent.update(2)
    before, old = copied(agent.dynamics), agent.dynamics
    agent.begin_task(1)
    assert agent.dynamics is not old and moved(agent.dynamics, before)
    assert agent.retention.old_dynamics is None and agent.roles == ("learner",)


def test_the_horizon_follows_the_task_and_its_last_value_repeats():
    agent = new_agent(tiny("tdmpc", planner__horizon=[2, 4, 3]))
    horizons = []
    for task in range(5):
        agent.begin_task(task)
        horizons.append((agent.learner.horizon, agent.learner.buffer.horizon))
    assert horizons == [(2, 2), (4, 4), (3, 3), (3, 3), (3, 3)]


def test_consolidation_pulls_from_the_second_task_on(monkeypatch):
    agent = in_task(tiny("ewc"), 0)
    calls = spied(monkeypatch, update, "td_step")
    agent.update(1)
    agent.begin_task(1)
    agent.store("learner", invented(agent))
    agent.update(2)
    extras = [kwargs["extra"] for _, kwargs, _ in calls]
    assert extras[0] is None and extras[1].item() == 0 and extras[2].item() > 0


# When to update --------------------------------------------------------------------------------


def test_updates_are_due_once_per_learner_step_after_the_warm_up():
    agent = new_agent(tiny("tdmpc", learning__seed_steps=21))
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
        rehearsal__combine=combine,
        rehearsal__match=match,
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
    world = agent.world(torch.Generator().manual_seed(0))
    obs, action = torch.zeros(5, 3), torch.eye(3)[[0, 1, 2, 0, 1]]
    assert world.predict(obs, action).shape == (5, 3)
    assert not world.predict(obs, action).requires_grad
    assert (world.sample is not None) == dreams and (world.intrinsic is not None) == reviews
    before = agent.streams.update.get_state()
    if dreams:
        assert world.sample(13).shape == (13, 6)
    if reviews:
        assert world.intrinsic(obs, action, obs).shape == (5,)
    assert torch.equal(agent.streams.update.get_state(), before)


def test_copied_heads_act_as_the_learner_did():
    agent = in_task(tiny(), 0)
    agent.update(2)
    saved = copy.deepcopy(agent.heads_copy().state_dict())
    agent.update(2)
    streams = agent.streams.state_dict()
    heads = agent.load_heads(saved)
    assert same(heads.state_dict(), saved) == []
    assert not any(p.requires_grad for p in heads.parameters())
    assert same(agent.streams.state_dict(), streams) == []


def test_loading_agents_takes_heads_and_the_reviewer_falls_back_to_the_learners():
    source = in_task(tiny(), 0)
    source.update(2)
    state = copy.deepcopy(source.state_dict(with_replay=False))
    other = new_agent(tiny(seed=5))
    other.load_world_model(state["world_model"])
    other.begin_task(0)
    other.load_agents(state)
    for actor in (other.learner, other.reviewer):
        assert same(actor.heads.state_dict(), source.learner.heads.state_dict()) == []
    reviewed = in_task(tiny(), 1)
    other.load_agents(copy.deepcopy(reviewed.state_dict(with_replay=False)))
    assert same(other.reviewer.heads.state_dict(), reviewed.reviewer.heads.state_dict()) == []


# Learning rates --------------------------------------------------------------------------------


def rates(agent):
    actors = [agent.learner, *([agent.reviewer] if agent.reviewer else [])]
    optimizers = [agent.dynamics_optimizer, agent.retention.vae_optimizer]
    optimizers += [o for a in actors for o in (a.heads_optimizer, a.policy_optimizer)]
    return [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]


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
