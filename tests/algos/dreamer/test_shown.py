import pytest
import torch

from lib.algos.dreamer import audit, recall, trust
from lib.algos.dreamer.rssm import State
from lib.core.spaces import ObsSpace
from tests.algos.dreamer.models import SPACES
from tests.dreamer_tiny import SYMBOLS, VECTOR, invented, new_agent, observations, tiny

T = 7


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def episode(agent):
    own = torch.Generator().manual_seed(3)
    return observations(agent.obs_space, T + 1, draws=own), agent.actions.random(T, own)


@pytest.mark.parametrize("space", [SYMBOLS, VECTOR, SPACES["image"]], ids=lambda s: s.kind)
def test_what_was_seen_is_repeated_and_then_imagination_goes_on(space: ObsSpace):
    agent = new_agent(tiny(), space=space)
    agent.begin_task(0)
    obs, action = episode(agent)
    for seen in (1, 4, T):
        told = agent.capabilities().imagine(obs, action, seen, draws(), None)
        found = told.obs
        assert len(found) == T + 1 and torch.isfinite(found.float()).all() and not told.origin
        if space.kind != "image":
            assert torch.equal(found[:seen], obs[:seen]) and found.dtype == obs.dtype
        else:
            assert found.shape == (T + 1, 64, 64, 3) and found.dtype == torch.uint8


def test_imagination_does_not_look_at_what_comes_later():
    agent = new_agent(tiny())
    agent.begin_task(0)
    obs, action = episode(agent)
    other = obs.clone()
    other[4:] = 0
    imagine = agent.capabilities().imagine
    one, two = (imagine(o, action, 3, draws(), None) for o in (obs, other))
    assert torch.equal(one.obs, two.obs)


def test_rewards_and_values_are_those_of_the_imagined_states():
    agent = new_agent(tiny())
    obs, action = episode(agent)
    told = agent.capabilities().imagine(obs, action, 3, draws(), None)
    model, critic, same = agent.module("model"), agent.module("critic"), draws()
    state, _, _ = audit.observe(model, obs.unsqueeze(1), action.unsqueeze(1), same)
    begin = State(*(part[2] for part in state))
    features = audit.open_loop(model, begin, action[2:].unsqueeze(1), same)
    assert torch.isnan(told.reward[:2]).all() and torch.isnan(told.value[:3]).all()
    torch.testing.assert_close(told.reward[2:], model.reward(features)[:, 0])
    torch.testing.assert_close(told.value[3:], critic(features)[:, 0])
    assert not (told.reward.requires_grad or told.value.requires_grad)


# Without a decoder -----------------------------------------------------------------------------


def test_the_nearest_by_hand_and_by_a_slow_loop(monkeypatch):
    # (0, 0), (3, 4), (6, 0) are known; (2, 1) is nearest to the first, (4, 3) to the second, and
    # (6, 9) to the second too: 5 - 0.8 away against 9.
    known = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 0.0]])
    asked = torch.tensor([[2.0, 1.0], [4.0, 3.0], [6.0, 9.0]])
    assert recall.nearest(asked, known).tolist() == [0, 1, 1]
    assert recall.nearest(asked[:0], known).tolist() == []
    many, others = torch.randn(23, 5, generator=draws()), torch.randn(19, 5, generator=draws())
    slow = [min(range(19), key=lambda m: float((row - others[m]).norm())) for row in many]
    monkeypatch.setattr(recall, "AT_ONCE", 4)
    assert recall.nearest(many, others).tolist() == slow


@pytest.mark.parametrize("space", [SYMBOLS, VECTOR, SPACES["image"]], ids=lambda s: s.kind)
@pytest.mark.parametrize("objective", ["prototypes", "contrast", "redundancy"])
def test_what_is_not_drawn_is_shown_by_stored_observations(objective, space):
    how = {"latent__kind": "gaussian", "objective__representation": objective}
    agent = new_agent(tiny(**how), space=space)
    obs, action = episode(agent)
    can, stored = agent.capabilities(), invented(agent, (11, 7, 3))
    kept = can.remember(stored, {}, draws())
    known = kept.records
    assert len(known.obs) == len(known.features) == 12 + 8 + 4  # nothing beyond an episode's end
    told = can.imagine(obs, action, 4, draws(), kept)
    assert told.origin.startswith("nearest stored")
    assert told.obs.shape == obs.shape and told.obs.dtype == obs.dtype
    assert torch.equal(told.obs[:4], obs[:4])
    for view in told.obs[4:]:
        assert (known.obs == view).flatten(1).all(1).any()
    blind = can.imagine(obs, action, 4, draws(), None)
    assert blind.obs is None and not blind.origin
    assert torch.equal(blind.reward[3:], told.reward[3:])


def test_a_record_that_is_asked_for_finds_itself():
    agent = new_agent(tiny(objective__representation="redundancy"), space=VECTOR)
    known = agent.capabilities().remember(invented(agent), {}, draws()).records
    found = recall.nearest(known.features, known.features)
    assert torch.equal(found, torch.arange(len(found)))


def test_nothing_is_remembered_of_no_episodes():
    agent = new_agent(tiny(objective__representation="redundancy"))
    none = invented(agent)
    none = none._replace(**{k: getattr(none, k)[:0] for k in ("obs", "action", "reward", "length")})
    assert agent.capabilities().remember(none, {}, draws()).records is None


# How far to trust it ---------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["reconstruction", "redundancy"])
def test_disagreement_and_surprise_are_those_of_the_imagined_states(objective):
    agent = new_agent(tiny(objective__representation=objective))
    obs, action = episode(agent)
    heads = trust.fresh(11 + 3, 11, draws())
    arrays = {f"{trust.PREFIX}{n}": part.numpy() for n, part in heads._asdict().items()}
    can = agent.capabilities()
    told = can.imagine(obs, action, 3, draws(), can.remember(None, arrays, draws()))
    model, same = agent.module("model"), draws()
    state, posterior, _ = audit.observe(model, obs.unsqueeze(1), action.unsqueeze(1), same)
    begin = State(*(part[2] for part in state))
    features = audit.open_loop(model, begin, action[2:].unsqueeze(1), same)  # (H, 1, F)
    before = torch.cat((model.rssm.features(begin).unsqueeze(0), features[:-1]))
    doubt = trust.disagreement(heads, before[:, 0], action[2:])
    assert torch.isnan(told.disagreement[:3]).all()
    torch.testing.assert_close(told.disagreement[3:], doubt)
    if objective == "reconstruction":
        assert told.surprise is None
        return
    prior = [model.rssm.prior(one[:, 6:]) for one in features]
    kl = [model.rssm.latent.kl(posterior[3 + t], one) for t, one in enumerate(prior)]
    torch.testing.assert_close(told.surprise[3:], torch.cat(kl))
    assert can.imagine(obs, action, 3, draws(), None).disagreement is None


def test_the_critic_values_every_decision():
    agent = new_agent(tiny())
    agent.begin_task(0)
    obs, action = episode(agent)
    value = agent.capabilities().value(obs, action, torch.Generator().manual_seed(0))
    assert value.shape == (T,) and torch.isfinite(value).all() and not value.requires_grad
    assert agent.capabilities().look_ahead == agent.cfg.behaviour.horizon
