"""Updates: what learns from what, what is copied when, and that batches can be learnt by heart."""

import math

import pytest
import torch

from lib.algos.dreamer import behaviour
from lib.algos.dreamer.learning import uncertainty
from lib.algos.dreamer.presets import METHODS
from tests.algos.dreamer.models import SPACES
from tests.dreamer_tiny import (
    BOX,
    PICKS,
    SYMBOLS,
    VECTOR,
    invented,
    new_agent,
    of_seed,
    ready,
    snapshot,
    tiny,
)
from tests.tiny import same


def rows(agent) -> dict[str, torch.Tensor]:
    return {name: adam.row.clone() for name, adam in agent.trained.items()}


def moved(agent, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, adam in agent.trained.items() if not torch.equal(adam.row, before[n])}


# Everything learns -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_updates_every_network_with_finite_numbers(method):
    agent = ready(tiny(method))
    before = rows(agent)
    agent.update(3)
    assert moved(agent, before) == set(agent.trained)
    agent.check_finite()
    assert all(torch.isfinite(adam.row).all() for adam in agent.trained.values())
    pairs = {"actor", "critic"}
    if "p2e" in method or "uncertainty" in method:
        pairs |= {"explorer", "explorer_critic", "ensemble"}
    assert set(agent.trained) == pairs | {"model"}


@pytest.mark.parametrize("actions", [PICKS, BOX], ids=["picks", "box"])
@pytest.mark.parametrize("latent", ["categorical", "gaussian"])
@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize(
    "space", [SYMBOLS, VECTOR, SPACES["image"]], ids=["symbols", "vector", "image"]
)
def test_every_observation_action_and_latent_can_be_learnt(space, norm, latent, actions):
    cfg = tiny("dreamer-p2e", latent__kind=latent, latent__norm=norm)
    agent = ready(cfg, space=space, actions=actions)
    before = rows(agent)
    agent.update(2)
    agent.check_finite()
    assert moved(agent, before) == set(agent.trained)


def test_the_same_seed_learns_the_same_and_another_does_not():
    one, again, other = (ready(of_seed(tiny("dreamer-p2e"), seed)) for seed in (0, 0, 1))
    for agent in (one, again, other):
        agent.update(3)
    assert same(snapshot(one), snapshot(again)) == []
    assert not torch.equal(one.trained["actor"].row, other.trained["actor"].row)


def test_updates_at_once_are_updates_one_by_one():
    one, other = ready(tiny()), ready(tiny())
    one.update(4)
    for _ in range(4):
        other.update(1)
    assert same(snapshot(one), snapshot(other)) == []


# Who learns from what ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "still"),
    [
        ("update__model_lr", {"model"}),
        ("update__actor_lr", {"actor", "explorer"}),
        ("update__critic_lr", {"critic", "explorer_critic"}),
        ("explore__lr", {"ensemble"}),
    ],
)
def test_every_network_learns_through_its_own_optimiser_alone(rate, still):
    agent = ready(tiny("dreamer-p2e", update__decay=0.0, **{rate: 0.0}))
    before = rows(agent)
    agent.update(2)
    assert moved(agent, before) == set(agent.trained) - still


def test_one_rollout_trains_both_pairs(monkeypatch):
    calls = []
    original = behaviour.imagine

    def imagine(rssm, actors, starts, noise, gradient="reinforce"):
        rollouts = original(rssm, actors, starts, noise, gradient)
        calls.append((len(actors), rollouts.action.shape))
        return rollouts

    monkeypatch.setattr(behaviour, "imagine", imagine)
    agent = ready(tiny("dreamer-p2e"))
    agent.update(2)
    assert calls == [(2, (3, 16, 3))] * 2  # H steps of 8 starts for each of two policies
    alone = ready(tiny())
    alone.update(1)
    assert calls[-1] == (1, (3, 8, 3))


def test_the_task_actor_does_not_see_the_explorers_reward():
    # without intrinsic and extrinsic reward the explorer's value is nothing, the task's is not
    cfg = tiny("dreamer-p2e", explore__intrinsic=0.0, explore__extrinsic=0.0)
    agent = ready(cfg)
    agent.update(1)
    means = agent.running_means.means()
    assert means["exploration/reward"] == 0.0 and means["behaviour/reward"] != 0.0


def test_where_rewards_do_not_shape_the_latent_they_are_still_predicted():
    agent = ready(tiny("dreamer-p2e-pixels"))
    agent.update(1)
    means = agent.running_means.means()
    assert "model/discount" not in means and means["model/reward"] > 0


# The slow critic ---------------------------------------------------------------------------------


def test_the_slow_critic_is_copied_after_updates_0_3_and_6():
    # The published code copies at the end of an update, the optimisers' steps included.
    agent = ready(tiny("dreamer-p2e"))  # slow_every 3
    for update in range(8):
        slow = {name: row.clone() for name, row in agent.slow.items()}
        agent.update(1)
        after = rows(agent)
        for name in ("critic", "explorer_critic"):
            wanted = after[name] if update % 3 == 0 else slow[name]
            assert torch.equal(agent.slow[name], wanted), update


def test_the_slow_critic_goes_on_counting_in_the_next_task():
    agent = ready(tiny())
    agent.update(2)
    agent.begin_task(1)
    slow = agent.slow["critic"].clone()
    agent.update(1)  # number 2 in its life
    assert torch.equal(agent.slow["critic"], slow)
    agent.update(1)
    assert torch.equal(agent.slow["critic"], rows(agent)["critic"])


def test_critics_that_are_copied_before_a_burst_stay_behind_within_it():
    # Bursts of 3 after 3 updates of pretraining, as 100 after 2,000 of TPC's own code.
    cfg = tiny(
        update__pretrain=3,
        update__burst=3,
        update__env_steps_per_update=1,
        behaviour__slow_when="before",
    )
    agent = ready(cfg)  # 24 env steps are counted besides
    assert agent.pending == 3 + 24
    agent.update(3)
    for _ in range(2):
        assert torch.equal(agent.slow["critic"], rows(agent)["critic"])
        begun = agent.slow["critic"].clone()
        for _ in range(2):
            agent.update(1)
            assert torch.equal(agent.slow["critic"], begun)
            assert not torch.equal(begun, rows(agent)["critic"])
        agent.update(1)


# The model alone ---------------------------------------------------------------------------------

ALONE = {"update__pretrains": "model", "update__pretrain": 2, "update__decay": 0.0}


def test_actors_and_critics_wait_while_pretraining_trains_the_model():
    agent = ready(tiny("dreamer-p2e", **ALONE))
    before = rows(agent)
    agent.update(2)
    assert moved(agent, before) == {"model", "ensemble"}
    assert {adam.step.item() for adam in agent.trained.values()} == {2.0}
    told = agent.running_means.means()
    assert not any(name.startswith(("behaviour/", "exploration/")) for name in told)
    agent.update(1)
    assert moved(agent, before) == set(agent.trained)
    assert "behaviour/actor" in agent.running_means.means()


def test_the_first_step_after_waiting_is_as_much_larger_as_adam_makes_it():
    # Where epsilon does not count, a first step is lr sqrt(1 - b2^t) / (1 - b1^t) times
    # (1 - b1) / sqrt(1 - b2), which is lr for t = 1; after two steps along nothing, t is 3:
    # sqrt(0.002997 / 0.001) 0.1 / 0.271 = 0.6388.
    steps = []
    for pretrains in ("all", "model"):
        agent = ready(tiny(**{**ALONE, "update__pretrains": pretrains}, update__epsilon=1e-30))
        agent.update(0 if pretrains == "all" else 2)
        before = rows(agent)["critic"]
        agent.update(1)
        steps.append((rows(agent)["critic"] - before).abs().max().item())
    lr = agent.cfg.update.critic_lr
    assert steps == pytest.approx([lr, 0.6388 * lr], rel=1e-3)


def test_the_model_learns_the_same_alone():
    models = []
    for pretrains in ("all", "model"):
        agent = ready(tiny(**{**ALONE, "update__pretrains": pretrains}))
        agent.update(2)
        models.append(rows(agent)["model"])
    assert torch.equal(*models)


def test_an_agent_restored_within_pretraining_waits_as_long_as_it_would_have():
    cfg = tiny("tpc-original", update__pretrain=3)
    agent, twin = ready(cfg), new_agent(cfg)
    agent.update(2)
    twin.load_state_dict(snapshot(agent))
    twin.streams.load_state_dict(agent.streams.state_dict())
    before = rows(agent)
    for one in (agent, twin):
        one.update(1)
        assert moved(one, before) == {"model"}
        one.update(3)
        assert moved(one, before) == {"model", "actor", "critic"}
    assert same(snapshot(agent), snapshot(twin)) == []


# Latents that are carried over -------------------------------------------------------------------


@pytest.mark.parametrize(("row_start", "matters"), [("zero", False), ("carry", True)])
def test_the_last_batchs_latents_count_only_where_they_are_carried(row_start, matters):
    results = []
    for value in (0.0, 1.0):
        agent = ready(tiny(replay__row_start=row_start, update__batch=7))
        agent.update(1)
        for part in agent.carried:
            part.fill_(value)
        agent.update(1)
        results.append(agent.trained["model"].row.clone())
    assert torch.equal(*results) != matters


def test_what_is_carried_is_the_end_of_the_batch():
    agent = ready(tiny(replay__row_start="carry"))
    assert not agent.carried.h.any()
    agent.update(1)
    assert agent.carried.z.shape == (3, 6) and agent.carried.h.shape == (3, 5)
    assert torch.equal(agent.carried.z.sum(-1), torch.full((3,), 2.0))  # two one-hot variables


# Learning by heart -------------------------------------------------------------------------------


def test_a_few_episodes_can_be_learnt_by_heart():
    cfg = tiny(update__model_lr=1e-2, latent__hidden=32, latent__deter=32, network__code_width=32)
    agent = new_agent(cfg)
    agent.store("learner", invented(agent, [5]))
    agent.count_steps(24)
    agent.update(1)
    first = agent.running_means.means()
    agent.update(110)
    agent.running_means.clear()
    agent.update(10)
    last = agent.running_means.means()
    # an untrained decoder knows as much as chance: 4 cells of 11, 6 and 3 classes
    assert first["model/reconstruction"] == pytest.approx(4 * math.log(11 * 6 * 3), rel=0.2)
    assert last["model/reconstruction"] < 0.5 * first["model/reconstruction"]
    assert last["model/reward"] < first["model/reward"]


# Uncertainty -------------------------------------------------------------------------------------


def test_uncertainty_leaves_out_what_comes_after_an_episodes_end():
    agent = ready(tiny("dreamer-uncertainty"))
    episodes = invented(agent, [4, 11])
    noisy = episodes.obs.clone()
    noisy[0, 5:] = 2
    found = []
    for obs in (episodes.obs, noisy):
        agent.streams.update.manual_seed(0)
        found.append(uncertainty(agent, episodes._replace(obs=obs)))
    assert found[0].shape == (2,) and (found[0] > 0).all()
    assert torch.equal(*found)


def test_members_that_agree_are_certain():
    agent = ready(tiny("dreamer-uncertainty"))
    agent.trained["ensemble"].row.zero_()
    assert uncertainty(agent, invented(agent)).tolist() == [0.0] * 4
