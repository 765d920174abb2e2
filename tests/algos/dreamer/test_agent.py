"""One Dreamer's life: steps, debts and updates, and what crosses the end of a task."""

import math

import pytest
import torch

from lib.core.errors import NonFiniteError
from tests.dreamer_tiny import BOX, VECTOR, invented, new_agent, of_seed, ready, snapshot, tiny
from tests.tiny import same

# Steps and updates -------------------------------------------------------------------------------


def test_nothing_is_learnt_while_the_replay_is_filled_at_random():
    agent = new_agent(tiny())  # 24 random steps, then 2 updates and one every 4 steps
    agent.store("learner", invented(agent))
    for _ in range(11):
        agent.count_steps(2)
    assert agent.acts_at_random() and agent.pending == 0 and agent.updates_due == 0.0


def test_the_step_that_ends_the_prefill_brings_the_first_updates():
    agent = new_agent(tiny())
    agent.store("learner", invented(agent))
    for _ in range(12):
        agent.count_steps(2)
    assert not agent.acts_at_random()
    assert agent.updates_due == 2 + 2 / 4 and agent.pending == 2
    agent.count_steps(2)  # pretraining comes once
    assert agent.updates_due == 3.0 and agent.pending == 3


def test_updates_pay_the_debt():
    agent = ready(tiny())
    due = agent.pending
    assert due == 2 + 24 // 4
    agent.update(due)
    assert (agent.updates, agent.total_updates, agent.pending) == (due, due, 0)


def test_nothing_is_due_while_nothing_is_stored():
    agent = new_agent(tiny())
    agent.count_steps(24)
    assert agent.updates_due == 8.0 and agent.pending == 0
    agent.store("learner", invented(agent, [1]))  # too short to be kept
    assert agent.pending == 0 and agent.replay.discarded == 1
    agent.store("learner", invented(agent, [2]))
    assert agent.pending == 8


def test_without_a_prefill_the_agent_acts_at_once_and_still_pretrains():
    agent = new_agent(tiny(update__prefill=0))
    assert not agent.acts_at_random()
    agent.count_steps(2)
    assert agent.updates_due == 2.5


# The end of a task -------------------------------------------------------------------------------


def test_a_new_task_changes_nothing_but_the_counters():
    agent = ready(tiny())
    agent.update(3)
    before = snapshot(agent)
    agent.begin_task(1)
    differ = same(before, snapshot(agent))
    assert differ == ["/steps", "/task", "/updates"]
    assert (agent.task, agent.steps, agent.updates) == (1, 0, 0)
    assert (agent.total_env_steps, agent.total_updates) == (24, 3)
    agent.count_steps(4)
    assert agent.updates_due == 8 - 3 + 1  # and no second pretraining


def test_optimisers_forget_at_a_boundary_where_they_are_told_to():
    agent = ready(tiny(boundary__reset_optimizers=True))
    agent.update(3)
    before = snapshot(agent)
    agent.begin_task(1)
    differ = same(before, snapshot(agent))
    moments = [path for path in differ if path.startswith("/optimizers/")]
    assert set(differ) - set(moments) == {"/steps", "/task", "/updates"}
    assert len(moments) == 9  # three optimisers, three slots each
    for adam in agent.trained.values():
        assert not adam.mean.any() and not adam.square.any() and adam.step == 0


def test_optimisers_that_forget_in_a_batch_go_on_learning():
    agent = ready(tiny(boundary__reset_optimizers=True))
    agent.update(2)
    agent.begin_task(1)
    agent.update(2)
    assert all(adam.step == 2 for adam in agent.trained.values())


def test_from_scratch_every_task_has_a_new_agent():
    agent = ready(tiny("scratch"))
    agent.update(3)
    before = snapshot(agent)
    agent.begin_task(1)
    assert agent.acts_at_random() and agent.replay.episodes == 0 and agent.pending == 0
    assert (agent.total_env_steps, agent.total_updates, agent.prefilled) == (0, 0, False)
    now = snapshot(agent)
    name = "encoder"
    weights = [k for k in before["world_model"]["model"] if name in k and "weight" in k]
    assert weights
    for key in weights:
        assert not torch.equal(
            before["world_model"]["model"][key], now["world_model"]["model"][key]
        )
    assert all(adam.step == 0 for adam in agent.trained.values())
    agent.store("learner", invented(agent))
    agent.count_steps(24)
    agent.update(1)
    assert agent.trained["model"].step == 1


def test_the_first_task_is_no_boundary():
    cfg = tiny("scratch")
    agent = new_agent(cfg)
    row = agent.trained["model"].row.clone()
    other = new_agent(tiny("dreamer"))
    assert torch.equal(row, other.trained["model"].row)


# Storing -----------------------------------------------------------------------------------------


def test_episodes_are_stored_under_the_task_at_hand():
    agent = ready(tiny())
    agent.begin_task(1)
    agent.store("learner", invented(agent, [5, 5]))
    assert agent.replay.tasks.tolist() == [0, 0, 0, 0, 1, 1]
    shares = {k: v for k, v in agent.report().items() if "share" in k}
    assert shares["train/replay/share-1"] == pytest.approx(32 / 42)
    assert shares["train/replay/share-2"] == pytest.approx(10 / 42)


def test_an_episode_that_ends_too_soon_is_stored_standing_still_where_it_is_asked():
    agent = new_agent(tiny(replay__pad=True, objective__discount_head=False, update__length=7))
    agent.store("learner", invented(agent, lengths=(11, 3, 2, 9)))
    assert agent.replay.table.column("length").tolist() == [11, 7, 7, 9]
    told = agent.running_means.means()["learner/length"]
    assert float(told) == (11 + 3 + 2 + 9) / 4


def test_a_visit_pays_its_bonus_in_the_replay_and_not_in_the_log():
    agent = new_agent(tiny("dreamer-visits"))
    episodes = invented(agent, [2, 3])
    episodes = episodes._replace(
        reward=torch.zeros_like(episodes.reward),
        cell=torch.tensor([[8, 4, 4] + [9] * 9, [8, 4, 5, 4] + [9] * 8]),
    )

    def paid():  # of both episodes stored last, of 2 and 3 steps
        reward = agent.replay.state_dict()["records"]["reward"][-7:]
        return [reward[:3].sum().item(), reward[3:].sum().item()]

    agent.store("learner", episodes)
    # cell 4 is entered for the 1st and 2nd time; then for the 3rd and 4th, and cell 5 between them
    wanted = [1 + 1 / math.sqrt(2), 1 / math.sqrt(3) + 1 + 1 / 2]
    assert paid() == pytest.approx(wanted)
    assert agent.replay.returns.tolist() == [0, 0]  # what the world paid
    assert agent.running_means.means()["learner/return"] == 0.0
    agent.begin_task(1)
    assert agent.exploration.counts is None  # counted anew in every task
    agent.store("learner", episodes)
    assert paid() == pytest.approx(wanted)


def test_what_the_ensemble_disagrees_about_is_worth_more_draws():
    agent = new_agent(tiny("dreamer-uncertainty"))
    agent.store("learner", invented(agent))
    worth = agent.replay.table.column("priority")
    assert (worth > 0).all() and len(set(worth.tolist())) == 4
    alone = new_agent(tiny("dreamer-uncertainty"))
    some = invented(agent)
    alone.store("learner", type(some)(*(None if part is None else part[1:2] for part in some)))
    # the second episode alone: padding and other rows do not matter, the noise does
    assert alone.replay.table.column("priority")[0] == pytest.approx(worth[1], rel=0.5)


def test_coverage_compares_with_the_same_eyes_in_every_life_of_a_seed():
    one, again, other = (new_agent(of_seed(tiny("dreamer-coverage"), seed)) for seed in (0, 0, 1))
    kernels = [agent.replay.rule.embed.kernel for agent in (one, again, other)]
    assert torch.equal(kernels[0], kernels[1]) and not torch.equal(kernels[0], kernels[2])


# Saving ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["continual-dreamer-p2e", "dreamer-coverage", "dreamer-visits", "dreamer-uncertainty"]
)
def test_a_restored_agent_goes_on_bit_for_bit(method):
    cfg = tiny(method, replay__row_start="carry")
    agent = ready(cfg)
    agent.update(3)
    state, streams = snapshot(agent), agent.streams.state_dict()
    twin = new_agent(cfg)
    twin.load_state_dict(state)
    twin.streams.load_state_dict(streams)
    for one in (agent, twin):
        one.store("learner", invented(one, [4, 11], seed=9))
        one.update(3)
    assert same(snapshot(agent), snapshot(twin)) == []
    assert twin.carried.h.any()


def test_a_restored_agent_shares_no_memory_with_what_it_came_from():
    agent, twin = ready(tiny()), new_agent(tiny())
    agent.update(1)
    twin.load_state_dict(agent.state_dict())
    before = twin.trained["model"].row.clone()
    agent.update(1)
    assert torch.equal(before, twin.trained["model"].row)


def test_another_runs_world_model_is_taken_and_nothing_else():
    source, agent = ready(of_seed(tiny("dreamer-p2e"), 1)), new_agent(tiny("dreamer-p2e"))
    source.update(2)
    own = {name: adam.row.clone() for name, adam in agent.trained.items()}
    agent.load_world_model(source.state_dict(with_replay=False)["world_model"])
    assert torch.equal(agent.trained["model"].row, source.trained["model"].row)
    for name in own.keys() - {"model"}:
        assert torch.equal(agent.trained[name].row, own[name])
    agent.capabilities().transfer.load_heads(source.state_dict(with_replay=False))
    for name in own.keys() - {"model"}:
        assert torch.equal(agent.trained[name].row, source.trained[name].row)
    for name, row in agent.slow.items():
        assert torch.equal(row, agent.trained[name].row)


def test_what_is_loaded_after_acting_is_what_acts():
    agent, source = ready(tiny()), ready(of_seed(tiny(), 1))
    obs = invented(agent).obs[:, 0]
    agent.act(obs, None, explore=False, generator=torch.Generator())
    agent.load_world_model(source.state_dict(with_replay=False)["world_model"])
    agent.capabilities().transfer.load_heads(source.state_dict(with_replay=False))
    mine, theirs = (
        a.act(obs, None, explore=False, generator=torch.Generator()) for a in (agent, source)
    )
    assert torch.equal(mine[0], theirs[0]) and torch.equal(mine[1].h, theirs[1].h)


def test_a_module_is_a_copy_without_gradients():
    agent = ready(tiny())
    model = agent.module("model")
    before = [p.clone() for p in model.parameters()]
    agent.update(1)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(p.requires_grad for p in model.parameters())
    now = agent.module("model").parameters()
    assert not all(torch.equal(a, b) for a, b in zip(before, now, strict=True))


# Numbers that are none ---------------------------------------------------------------------------


def test_a_quantity_that_is_no_number_is_named_with_its_update():
    agent = ready(tiny())
    agent.update(2)
    agent.check_finite()
    agent.replay.records.reward[:] = math.nan
    agent.update(1)
    with pytest.raises(NonFiniteError, match="non-finite .*model/reward.* in task 1 near update 3"):
        agent.report()


# Reports -----------------------------------------------------------------------------------------


def test_a_report_has_a_group_for_everything_that_learns_and_begins_anew():
    agent = ready(tiny("dreamer-p2e"))
    agent.store("learner", invented(agent, [3]))
    agent.update(2)
    told = agent.report()
    assert list(told) == sorted(told)
    assert all(math.isfinite(value) for value in told.values())
    groups = {name.split("/")[1] for name in told}
    assert groups == {"learner", "model", "ensemble", "behaviour", "exploration", "replay"}
    assert told["train/replay/episodes"] == 5
    assert {name.split("/")[1] for name in agent.report()} == {"replay"}


def test_continuous_actions_and_vectors_are_learnt_too():
    agent = ready(tiny(latent__kind="gaussian"), space=VECTOR, actions=BOX)
    assert agent.networks.behaviour_cfg.gradient == "dynamics"
    agent.update(3)
    action, _ = agent.act(invented(agent).obs[:, 0], None)
    assert action.shape == (4, 2) and action.abs().max() <= 1
    agent.check_finite()


def test_updates_are_made_in_whole_bursts():
    agent = new_agent(tiny(update__burst=3, update__pretrain=2))
    agent.store("learner", invented(agent))
    agent.count_steps(agent.cfg.update.prefill)  # 2 at once, and the env steps' own
    due = 2 + agent.cfg.update.prefill // agent.steps_per_update
    assert agent.pending == due
    agent.update(agent.pending)
    found = []
    for _ in range(7):
        agent.count_steps(agent.steps_per_update)
        found.append(agent.pending)
        agent.update(agent.pending)
    assert found == [0, 0, 3, 0, 0, 3, 0]


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_a_burst_that_is_made_in_parts_is_made_whole(chunk):
    # how many updates come between two looks at the clock must not change how many are made
    agent = new_agent(tiny(update__burst=3, update__pretrain=2))
    agent.store("learner", invented(agent))
    found = []
    for steps in [agent.cfg.update.prefill, *[agent.steps_per_update] * 7]:
        agent.count_steps(steps)
        while agent.pending:
            for _ in range(min(chunk, agent.pending)):
                agent.count_update()
        found.append(agent.total_updates)
    first = 2 + agent.cfg.update.prefill // agent.steps_per_update
    assert found == [first, first, first, first + 3, first + 3, first + 3, first + 6, first + 6]
