import pytest
import torch

from lib.core.spaces import ObsSpace
from tests.algos.dreamer.models import SPACES
from tests.dreamer_tiny import SYMBOLS, VECTOR, new_agent, observations, tiny

T = 7


def episode(agent):
    draws = torch.Generator().manual_seed(3)
    return observations(agent.obs_space, T + 1, draws=draws), agent.actions.random(T, draws)


@pytest.mark.parametrize("space", [SYMBOLS, VECTOR, SPACES["image"]], ids=lambda s: s.kind)
def test_what_was_seen_is_repeated_and_then_imagination_goes_on(space: ObsSpace):
    agent = new_agent(tiny(), space=space)
    agent.begin_task(0)
    obs, action = episode(agent)
    for seen in (1, 4, T):
        found = agent.capabilities().imagine(obs, action, seen, torch.Generator().manual_seed(0))
        assert len(found) == T + 1 and torch.isfinite(found.float()).all()
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
    draws = (torch.Generator().manual_seed(1) for _ in range(2))
    one, two = (agent.capabilities().imagine(o, action, 3, next(draws)) for o in (obs, other))
    assert torch.equal(one, two)


def test_the_critic_values_every_decision():
    agent = new_agent(tiny())
    agent.begin_task(0)
    obs, action = episode(agent)
    value = agent.capabilities().value(obs, action, torch.Generator().manual_seed(0))
    assert value.shape == (T,) and torch.isfinite(value).all() and not value.requires_grad
    assert agent.capabilities().look_ahead == agent.cfg.behaviour.horizon
