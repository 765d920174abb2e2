import numpy as np
import pytest
import torch

from lib.algos.dreamer.learn_model import RandomPlayer, learn_model
from lib.core.errors import NonFiniteError, UserError
from lib.core.spaces import ActionSpace
from tests.dreamer_tiny import invented, new_agent, snapshot, tiny

UPDATES = 4


@pytest.fixture
def agent():
    """An agent with episodes of noise, its prefill over."""
    agent = new_agent(tiny())
    agent.store("learner", invented(agent))
    agent.count_steps(agent.cfg.update.prefill)
    return agent


def test_learning_changes_the_world_model_and_nothing_else(agent):
    before = snapshot(agent)
    learn_model(agent, UPDATES)
    after = agent.state_dict()
    moved = {
        name: not torch.equal(value, after["world_model"]["model"][name])
        for name, value in before["world_model"]["model"].items()
    }
    assert all(moved[name] for name in moved if name.endswith("weight"))
    for network, tensors in before["learner"].items():
        assert all(torch.equal(v, after["learner"][network][n]) for n, v in tensors.items())
    assert after["optimizers"]["model"]["step"] == UPDATES


def test_it_is_the_first_part_of_an_agents_own_update(agent):
    """Same batch and same latents: the same model."""
    other = new_agent(tiny())
    other.store("learner", invented(other))
    other.count_steps(other.cfg.update.prefill)
    learn_model(agent, 1)
    other.update(1)  # draws more numbers, but the model's come first
    for name, value in other.module("model").state_dict().items():
        torch.testing.assert_close(value, agent.module("model").state_dict()[name])


def test_every_part_is_logged_before_each_update(agent):
    logged = learn_model(agent, UPDATES)
    assert {"reconstruction", "reward", "discount", "kl", "total"} <= set(logged)
    assert all(values.shape == (UPDATES,) for values in logged.values())
    assert all(np.isfinite(values).all() for values in logged.values())


def test_learning_goes_on_where_it_stopped(agent):
    twin = new_agent(tiny())
    twin.store("learner", invented(twin))
    learn_model(agent, UPDATES)
    learn_model(twin, 1)
    learn_model(twin, UPDATES - 1)
    for name, value in agent.module("model").state_dict().items():
        assert torch.equal(value, twin.module("model").state_dict()[name])


def test_the_loss_of_few_episodes_falls(agent):
    logged = learn_model(agent, 60)
    assert logged["total"][-10:].mean() < logged["total"][:10].mean()


def test_an_empty_replay_is_said():
    with pytest.raises(UserError, match="the replay is empty"):
        learn_model(new_agent(tiny()), 1)


def test_a_loss_that_is_no_number_is_said(agent):
    agent.trained["model"].row.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="nan in update 1; .*lower update.model_lr"):
        learn_model(agent, 1)


def test_the_random_player_needs_no_memory():
    player = RandomPlayer(ActionSpace(3, discrete=True))
    draws = torch.Generator().manual_seed(0)
    action, memory = player.act(torch.zeros(50, 2), None, generator=draws, explore=True, role="x")
    assert memory is None and action.shape == (50, 3)
    assert (action.sum(0) > 5).all() and (action.sum(1) == 1).all()
