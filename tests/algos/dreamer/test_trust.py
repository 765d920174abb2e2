"""An ensemble of one-step heads, and whether it tells where imagined rollouts are wrong."""

import copy

import numpy as np
import pytest
import torch

from lib.algos.dreamer import audit, on_disc, trust
from lib.algos.dreamer.learn_model import learn_model
from lib.algos.dreamer.rssm import State
from lib.algos.dreamer.run_settings import DreamerRun
from lib.core import calibration
from lib.core.config import from_dict, layered
from lib.core.spaces import ObsSpace
from lib.envs import disc
from lib.replay.buffer import Episodes
from lib.runner.record import describe
from tests.algos.dreamer.models import SPACES
from tests.algos.dreamer.test_audit import NAMES, K, T, memory
from tests.dreamer_tiny import SYMBOLS, VECTOR, invented, new_agent, ready, snapshot, tiny


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


# Disagreement ----------------------------------------------------------------------------------


def test_disagreement_by_hand():
    # Two members, one hidden unit that adds up feature and action, 1.5 + 0.5 = 2. Of the next two
    # features the first is 2 and 6 (deviation 2), the second 0 + 1 and 4 - 3 (0): on average 1.
    inner, zero = torch.ones(2, 2, 1), torch.zeros(2, 1, 1)
    outer = torch.tensor([[[1.0, 0.0]], [[3.0, 2.0]]])
    bias = torch.tensor([[[0.0, 1.0]], [[0.0, -3.0]]])
    heads = trust.Heads(inner, zero, outer, bias)
    assert trust.predict(heads, torch.tensor([[1.5, 0.5]]))[:, 0].tolist() == [[2, 1], [6, 1]]
    feature, action = torch.tensor([[1.5]]), torch.tensor([[0.5]])
    assert trust.disagreement(heads, feature, action).tolist() == [1.0]


def test_disagreement_along_rollouts_by_a_slow_loop():
    heads = trust.fresh(5 + 2, 5, draws())
    features, action = torch.randn(4, 3, 5, generator=draws(1)), torch.randn(4, 3, 2)
    heads = heads._replace(outer_bias=torch.randn(trust.MEMBERS, 1, 5, generator=draws(2)))
    found = trust.disagreement(heads, features, action)
    assert found.shape == (4, 3)
    for t in range(4):
        for n in range(3):
            told, step = [], torch.cat((features[t, n], action[t, n]))
            for k in range(trust.MEMBERS):
                hidden = torch.nn.functional.elu(step @ heads.inner[k])
                told.append((hidden @ heads.outer[k] + heads.outer_bias[k, 0]).numpy())
            assert float(found[t, n]) == pytest.approx(np.std(told, 0).mean(), rel=1e-4)


def test_members_agree_where_they_were_fitted_and_not_elsewhere():
    step = torch.rand(500, 3, generator=draws()) - 0.5  # a cube around 0
    after = torch.stack((step.sum(1), step[:, 0] * step[:, 1]), 1)
    heads = trust.fit(step, after, draws(1), passes=80)
    assert (trust.predict(heads, step).mean(0) - after).square().mean() < 0.02 * after.var()
    inside = trust.disagreement(heads, step[:, :2], step[:, 2:]).mean()
    outside = trust.disagreement(heads, step[:, :2] + 2, step[:, 2:]).mean()
    assert outside > 5 * inside


def test_a_fit_is_repeatable_and_leaves_no_gradients():
    step, after = torch.randn(50, 5, requires_grad=True), torch.randn(50, 3, requires_grad=True)
    with torch.no_grad():
        one, other = (trust.fit(step, after, draws(3), passes=5) for _ in range(2))
    assert all(map(torch.equal, one, other)) and step.grad is None and after.grad is None
    assert not any(part.requires_grad for part in one)
    assert not torch.equal(one.inner[0], one.inner[1])
    assert not trust.disagreement(one, step[:, :3], step[:, 3:]).requires_grad


def test_what_heads_are_fitted_to_by_a_slow_loop(monkeypatch):
    agent = new_agent(tiny(), space=VECTOR)
    model, episodes, given = agent.module("model"), invented(agent, (4, 2)), []
    monkeypatch.setattr(trust, "fit", lambda *arguments: given.extend(arguments))
    trust.fit_to(model, episodes, draws())
    obs, action = episodes.obs.transpose(0, 1), episodes.action.transpose(0, 1)
    state, posterior, _ = audit.observe(model, obs, action, draws())
    rows = []
    for t, e in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 0)]:
        mode = model.rssm.latent.mode(posterior[t + 1, e])
        step = torch.cat((state.z[t, e], state.h[t, e], action[t, e]))
        rows.append((step, torch.cat((mode, state.h[t + 1, e]))))
    for found, slow in zip(given, zip(*rows, strict=True), strict=False):
        assert torch.equal(found, torch.stack(slow))


# Rollouts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["reconstruction", "redundancy"])
def test_rollouts_by_a_slow_loop(objective, monkeypatch):
    # The latent is taken at its mode, so that no draw decides what is compared.
    agent = new_agent(tiny(objective__representation=objective), space=VECTOR)
    model, held = agent.module("model"), memory(agent, [[11, 7, 4], [0, 0, 0]])
    latent = model.rssm.latent
    monkeypatch.setattr(type(latent), "sample", lambda self, stats, noise: self.mode(stats))
    heads = trust.fresh(11 + 3, 11, draws())
    obs, action = held["obs"][0].transpose(0, 1), held["action"][0].transpose(0, 1)
    found = trust.rollouts(model, heads, obs, action, held["length"][0], draws())
    state, posterior, _ = audit.observe(model, obs, action, draws())
    starts = range(audit.CONTEXT - 1, 10)  # the last start has one step left
    assert found.there.shape == (7, len(starts) * K)
    for i, start in enumerate(starts):
        for episode, length in enumerate((11, 7, 4)):
            now = State(*(part[start, episode, None] for part in state))
            for step in range(7):
                record = start + step + 1
                column = i * K + episode
                assert bool(found.there[step, column]) == (record <= length)
                if record > length:
                    continue
                taken = action[record - 1, episode, None]
                doubt = trust.disagreement(heads, model.rssm.features(now), taken)
                h = model.rssm.recur(now, taken)
                now = State(latent.mode(model.rssm.prior(h)), h)
                if objective == "reconstruction":
                    seen = obs[record, episode, None]
                    error = model.objective.error(model.rssm.features(now), seen)
                else:
                    error = latent.kl(posterior[record, episode, None], model.rssm.prior(h))
                torch.testing.assert_close(found.error[step, column, None], error)
                torch.testing.assert_close(found.disagreement[step, column, None], doubt)


def test_episodes_that_are_too_short_are_not_imagined():
    agent = new_agent(tiny())
    held, heads = memory(agent, [[5, 5, 2], [0, 0, 0]]), trust.fresh(14, 11, draws())
    obs, action = held["obs"][0].transpose(0, 1), held["action"][0].transpose(0, 1)
    model = agent.module("model")
    assert trust.rollouts(model, heads, obs, action, held["length"][0], draws()) is None


def test_calibration_by_hand():
    # Six states count, errors 1 to 6 in the order of disagreement but for the last two.
    signal = torch.tensor([[0.1, 0.2, 0.3, 9.0], [0.4, 0.5, 0.6, 9.0]])
    error = torch.tensor([[1.0, 2.0, 3.0, 0.0], [4.0, 6.0, 5.0, 0.0]])
    there = torch.tensor([[True, True, True, False]] * 2)
    told, by_fifth = trust.calibrate(trust.Rollouts(signal, error, there))
    assert by_fifth.tolist() == [1.5, 3.0, 4.0, 6.0, 5.0]
    assert told["trust_rank"] == pytest.approx(1 - 6 * 2 / 210)
    assert told["trust_rank_by_step"] == pytest.approx((1 + 0.5) / 2)
    assert told["disagreement"] == pytest.approx(0.35)
    assert (told["error_trusted"], told["error_distrusted"]) == (1.5, 5.0)


# A world with actions that nobody tried ----------------------------------------------------------


def untried(action):
    """Whether pushes (..., 2) go right and down at once, where they do the opposite."""
    return (action > 0).all(-1)


def pushed(count, steps, rng, tries_all):
    """Episodes of a point that is pushed about as the disc of `lib.envs.disc`, seen as numbers."""
    action, place = np.empty((count, steps, 2)), np.empty((count, steps + 1, 2))
    place[:, 0] = rng.uniform(-1, 1, (count, 2))
    push, velocity = np.zeros((2, count, 2))
    for t in range(steps):
        push = disc.ACTION_KEEP * push + disc.ACTION_NOISE * rng.standard_normal((count, 2))
        if not tries_all:
            push = np.where(untried(push)[:, None], -push, push)
        action[:, t] = push.clip(-1, 1)
        effect = np.where(untried(push)[:, None], -action[:, t], action[:, t])
        velocity = disc.DRAG * velocity + 0.06 * effect
        place[:, t + 1] = (place[:, t] + velocity).clip(-1, 1)
    seen, done = (torch.from_numpy(part.astype(np.float32)) for part in (place, action))
    return Episodes(seen, done, torch.zeros(done.shape[:2]), torch.full((count,), steps))


@pytest.mark.slow
def test_the_ensemble_disagrees_where_a_trained_model_is_wrong():
    # Nobody pushed right and down at once: the model expects of it what other pushes do. Measured
    # with this seed: a rank of 0.66 over all states and among those equally far ahead, mean errors
    # of 0.02 and 1.07 in the outer fifths; heads that were not fitted rank them at -0.05.
    steps, rng = 50, np.random.default_rng(0)
    heap = pushed(80, steps, rng, tries_all=False)
    asked = pushed(16, steps, rng, tries_all=True)
    small = {
        "env": {"episode_length": steps},
        "latent": {"variables": 5, "deter": 50, "hidden": 50},
        "network": {"code_width": 64, "code_layers": 2, "head_width": 64},
    }
    cfg = from_dict(DreamerRun, layered(on_disc.SMALL, small))
    agent = new_agent(cfg, space=ObsSpace("vector", (2,)), actions=disc.ACTIONS)
    agent.store("learner", heap)
    learn_model(agent, 400)
    model, asked_of = agent.module("model"), [part.transpose(0, 1) for part in asked[:2]]
    heads = trust.fit_to(model, heap, draws(1))
    fresh = trust.fresh(model.rssm.features_size + 2, model.rssm.features_size, draws(2))

    def examined(ensemble):
        return trust.rollouts(model, ensemble, *asked_of, asked.length, draws(3))

    found = examined(heads)
    told, by_fifth = trust.calibrate(found)
    assert told["trust_rank"] > 0.4 and told["trust_rank_by_step"] > 0.4
    assert told["error_distrusted"] > 10 * told["error_trusted"]
    assert (np.diff(by_fifth) > 0).all()
    knows_nothing, _ = trust.calibrate(examined(fresh))
    assert abs(knows_nothing["trust_rank"]) < 0.2


# Audits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [SYMBOLS, VECTOR, SPACES["image"]], ids=lambda s: s.kind)
@pytest.mark.parametrize("objective", ["reconstruction", "contrast"])
def test_every_kind_of_world_is_examined(space, objective):
    how = {"objective__representation": objective, "latent__kind": "gaussian"}
    agent = new_agent(tiny(**how), space=space)
    held, model = memory(agent, [[11, 11, 7], [3, 0, 0]]), agent.module("model")
    metrics, arrays = trust.examine(model, invented(agent), held, NAMES, draws())
    assert {name.split("/")[1] for name in metrics} == {"met-one"}  # the other is too short
    found = {name.rpartition("/")[2] for name in metrics}
    assert found >= {"disagreement", "error_trusted", "error_distrusted"}  # ranks: if they vary
    assert np.isfinite(list(metrics.values())).all()
    assert all(describe(name).unit for name in metrics)
    assert arrays["trust_error"].shape == (2, calibration.QUANTILES)
    assert np.isfinite(arrays["trust_error"][0]).all() and np.isnan(arrays["trust_error"][1]).all()
    kept, again = trust.read(arrays, "cpu"), trust.fit_to(model, invented(agent), draws())
    assert all(map(torch.equal, kept, again))
    assert trust.read({}, "cpu") is None


def test_an_audit_leaves_the_agent_as_it_is():
    class Seen:
        tasks = tuple(type("Task", (), {"name": name})() for name in NAMES)

    agent = ready(tiny())
    before, streams = snapshot(agent), copy.deepcopy(agent.streams.state_dict())
    metrics, arrays = agent.audit(Seen(), memory(agent, [[11] * K] * 2), draws())
    assert "audit/met-one/trust_rank" in metrics and arrays["trust_error"].shape == (1, 5)
    assert same(before, agent.state_dict()) and same(streams, agent.streams.state_dict())


def test_what_follows_an_episodes_end_is_not_fitted_to():
    agent = new_agent(tiny(), space=VECTOR)
    episodes, model = invented(agent, (T, 4)), agent.module("model")
    noisy = episodes._replace(obs=episodes.obs.clone())
    noisy.obs[1, 5:] = 9.0
    one, other = (trust.fit_to(model, given, draws()) for given in (episodes, noisy))
    assert all(map(torch.equal, one, other))
