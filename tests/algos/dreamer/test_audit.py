"""What a world model makes of held-out episodes: one step ahead, and left to itself."""

import numpy as np
import pytest
import torch

from lib.algos.dreamer import audit
from lib.algos.dreamer.rssm import State
from lib.core.spaces import ObsSpace
from lib.runner.record import describe
from tests.algos.dreamer.models import SPACES
from tests.dreamer_tiny import SYMBOLS, VECTOR, new_agent, observations, tiny

TASKS, K, T = 2, 3, 11
NAMES = ["one", "two"]


def memory(agent, lengths: list[list[int]]) -> dict[str, torch.Tensor]:
    """Held-out episodes of noise, zeros where nothing is held out."""
    draws = torch.Generator().manual_seed(5)
    obs = observations(agent.obs_space, TASKS, K, T + 1, draws=draws)
    action = agent.actions.random(TASKS * K * T, draws).view(TASKS, K, T, -1)
    reward = torch.rand(TASKS, K, T, generator=draws)
    return {"obs": obs, "action": action, "reward": reward, "length": torch.tensor(lengths)}


def examine(agent, held, names=NAMES):
    return audit.audit(agent.module("model"), held, names, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("space", [SYMBOLS, VECTOR, SPACES["image"]], ids=lambda s: s.kind)
@pytest.mark.parametrize("latent", ["categorical", "gaussian"])
def test_every_kind_of_world_is_examined(space: ObsSpace, latent):
    agent = new_agent(tiny(latent__kind=latent), space=space)
    held = memory(agent, [[11, 4, 7], [3, 0, 0]])
    metrics, arrays = examine(agent, held)
    error = {"symbols": "cells", "image": "pixels", "vector": "mse"}[space.kind]
    for name, count in (("one", 22), ("two", 3)):
        told = {key.rpartition("/")[2]: v for key, v in metrics.items() if f"met-{name}/" in key}
        assert set(told) == {error, "surprise", "reward_mse", "count"}
        assert told["count"] == count and all(np.isfinite(v) and v >= 0 for v in told.values())
    far = arrays["open_loop_error"]
    assert far.shape == (TASKS, T + 1) and np.isfinite(far[0, audit.CONTEXT :]).all()
    assert np.isnan(far[0, : audit.CONTEXT]).all() and np.isnan(far[1]).all()


def test_tasks_that_lie_ahead_and_those_without_episodes_are_left_out():
    agent = new_agent(tiny())
    metrics, arrays = examine(agent, memory(agent, [[0, 0, 0], [5, 5, 5]]))
    assert {key.split("/")[1] for key in metrics} == {"met-two"}
    metrics, arrays = examine(agent, memory(agent, [[6, 6, 6], [5, 5, 5]]), NAMES[:1])
    assert {key.split("/")[1] for key in metrics} == {"met-one"}
    assert arrays["open_loop_error"].shape == (1, T + 1)


def test_what_comes_after_an_episodes_end_does_not_count():
    agent = new_agent(tiny())
    held = memory(agent, [[11, 6, 4], [0, 0, 0]])
    noisy = {name: value.clone() for name, value in held.items()}
    noisy["obs"][0, 1, 7:], noisy["reward"][0, 1, 6:] = 2, 9.0
    noisy["obs"][0, 2, 5:], noisy["action"][0, 2, 4:] = 1, 0.0
    one, other = examine(agent, held), examine(agent, noisy)
    assert one[0] == pytest.approx(other[0])
    np.testing.assert_allclose(one[1]["open_loop_error"], other[1]["open_loop_error"])


def test_the_errors_by_a_slow_loop():
    agent = new_agent(tiny(), space=VECTOR)
    held = memory(agent, [[11, 2, 0], [0, 0, 0]])
    metrics, _ = examine(agent, held)
    model, draws = agent.module("model"), torch.Generator().manual_seed(0)
    obs, action = held["obs"][0].transpose(0, 1), held["action"][0].transpose(0, 1)
    state, _, prior = audit.observe(model, obs, action, draws)
    wrong, paid = [], []
    for k, length in enumerate([11, 2]):
        for t in range(1, length + 1):
            mode = model.rssm.latent.mode(prior[t, k])
            features = model.rssm.features(State(mode, state.h[t, k]))
            wrong.append(
                (model.objective.decoder.predict(features) - obs[t, k]).square().mean().item()
            )
            known = model.rssm.features(State(state.z[t, k], state.h[t, k]))
            target = torch.tanh(held["reward"][0, k, t - 1])
            paid.append((model.reward(known) - target).square().item())
    assert metrics["audit/met-one/mse"] == pytest.approx(np.mean(wrong), rel=1e-4)
    assert metrics["audit/met-one/reward_mse"] == pytest.approx(np.mean(paid), rel=1e-4)


def test_open_loop_goes_on_from_the_last_record_of_the_context():
    agent = new_agent(tiny())
    model, held = agent.module("model"), memory(agent, [[11] * K] * TASKS)
    action = held["action"][0].transpose(0, 1)
    start = State(torch.zeros(K, 6), torch.rand(K, 5))
    found = audit.open_loop(model, start, action[:3], torch.Generator().manual_seed(2))
    state = model.rssm.imagining()(start, action[0], torch.rand(K, 2))
    assert found.shape == (3, K, 11)
    torch.testing.assert_close(found[0, :, 6:], state.h)  # h does not depend on the draw


def test_an_agent_audits_the_tasks_so_far_and_stays_as_it_is():
    class Seen:
        tasks = tuple(type("Task", (), {"name": name})() for name in NAMES)

    agent = new_agent(tiny())
    before = agent.streams.state_dict()
    metrics, _ = agent.audit(Seen(), memory(agent, [[6] * K] * TASKS), torch.Generator())
    assert {key.split("/")[1] for key in metrics} == {"met-one"}
    agent.begin_task(1)
    metrics, _ = agent.audit(Seen(), memory(agent, [[6] * K] * TASKS), torch.Generator())
    assert {key.split("/")[1] for key in metrics} == {"met-one", "met-two"}
    after = agent.streams.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


# Actor and critic ------------------------------------------------------------------------------


def test_earned_returns_by_hand():
    # T = 3, discount .5. One episode ends after 2 decisions, paid 1 and 4: 1 + .5 * 4 = 3, then 4.
    # The other is cut by time, paid 2, 0, 1, and the critic says 8 of its last record:
    # 8; 0 + .5 * 8 = 4; 2 + .5 * 4 = 4.
    reward = torch.tensor([[1.0, 2.0], [4.0, 0.0], [9.0, 1.0]])
    value = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [5.0, 8.0]])
    cut = torch.tensor([False, True])
    found = audit.earned(reward, torch.tensor([2, 3]), cut, value, 0.5)
    assert found[:2, 0].tolist() == [3.0, 4.0] and found[:, 1].tolist() == [4.0, 4.0, 8.0]


def test_the_actor_agrees_with_what_it_would_do_itself():
    agent = new_agent(tiny())
    held = memory(agent, [[11, 4, 7], [0, 0, 0]])
    model, actor, critic = map(agent.module, ("model", "actor", "critic"))
    for _ in range(len(held["action"][0, 0])):  # what is decided changes what follows
        obs, action = held["obs"][0].transpose(0, 1), held["action"][0].transpose(0, 1)
        state, _, _ = audit.observe(model, obs, action, torch.Generator().manual_seed(0))
        chosen = actor.mode(actor(model.rssm.features(state)))[:-1]
        held["action"][0] = chosen.transpose(0, 1)
    draws = torch.Generator().manual_seed(0)
    metrics, _ = audit.audit(model, held, NAMES[:1], draws, (actor, critic))
    assert metrics["audit/met-one/actor_agreement"] == 1.0
    held["action"] = held["action"].roll(1, -1)  # another action everywhere
    draws = torch.Generator().manual_seed(0)
    metrics, _ = audit.audit(model, held, NAMES[:1], draws, (actor, critic))
    assert metrics["audit/met-one/actor_agreement"] < 1.0
    assert metrics["audit/met-one/critic_mse"] > 0


def test_a_probe_asks_about_the_tasks_before_this_one():
    class Seen:
        tasks = tuple(type("Task", (), {"name": name})() for name in NAMES)

    agent, held = new_agent(tiny()), memory(new_agent(tiny()), [[6] * K] * TASKS)
    probe = agent.capabilities().probe
    assert probe(Seen(), held, torch.Generator()) == {}
    agent.begin_task(1)
    found = probe(Seen(), held, torch.Generator().manual_seed(0))
    assert set(found) == {
        f"probe/one/{part}"
        for part in ("cells", "surprise", "reward_mse", "critic_mse", "actor_agreement", "count")
    }
    assert all(describe(name).unit for name in found)
