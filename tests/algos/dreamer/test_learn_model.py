import numpy as np
import pytest
import torch

from lib.algos.dreamer.learn_model import RandomPlayer, learn_model
from lib.core.errors import NonFiniteError, UserError
from lib.core.spaces import ActionSpace
from tests.dreamer_tiny import invented, new_agent, snapshot, tiny

UPDATES = 4


FREEZE = 2  # updates before the tiny agent's prototypes learn


def filled(representation="reconstruction"):
    """An agent with episodes of noise, its prefill over."""
    agent = new_agent(tiny(objective__representation=representation))
    agent.store("learner", invented(agent))
    agent.count_steps(agent.cfg.update.prefill)
    return agent


@pytest.fixture
def agent():
    return filled()


def prototypes_of(agent):
    return agent.module("model").objective.prototypes.data


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


@pytest.mark.parametrize("representation", ["reconstruction", "prototypes", "redundancy"])
def test_it_is_the_first_part_of_an_agents_own_update(representation):
    """Same batch and same latents: the same model."""
    agent, other = filled(representation), filled(representation)
    learn_model(agent, 1)
    other.update(1)  # draws more numbers, but the model's come first
    for name, value in other.module("model").state_dict().items():
        torch.testing.assert_close(value, agent.module("model").state_dict()[name])
    if "model" in other.slow:
        torch.testing.assert_close(agent.slow["model"], other.slow["model"])


def test_prototypes_wait_and_then_learn_at_length_1():
    agent = filled("prototypes")
    start = prototypes_of(agent)
    learn_model(agent, FREEZE - 1)
    learn_model(agent, 1)  # counted on, not from the beginning
    torch.testing.assert_close(prototypes_of(agent), start, rtol=0, atol=1e-5)
    learn_model(agent, 1)
    moved = prototypes_of(agent)
    assert (moved - start).abs().max() > 1e-5
    torch.testing.assert_close(moved.norm(dim=-1), torch.ones(len(moved)))


def test_prototypes_of_an_agent_that_has_learnt_do_not_wait_again():
    agent = filled("prototypes")
    agent.total_updates = FREEZE
    start = prototypes_of(agent)
    learn_model(agent, 1)
    assert (prototypes_of(agent) - start).abs().max() > 1e-5


def test_the_averaged_copy_follows_and_is_what_targets_come_from():
    agent, rate = filled("prototypes"), 0.05
    rows = [agent.trained["model"].row.clone()]
    expected = agent.slow["model"].clone()
    for _ in range(3):
        learn_model(agent, 1)
        rows.append(agent.trained["model"].row.clone())
        expected = (1 - rate) * expected + rate * rows[-1]
    torch.testing.assert_close(agent.slow["model"], expected)
    twin = filled("prototypes")  # the same model with another copy: other targets
    twin.slow["model"].add_(torch.randn(twin.slow["model"].shape))
    one, other = learn_model(filled("prototypes"), 1), learn_model(twin, 1)
    assert one["temporal"] != other["temporal"] and one["kl"] == other["kl"]


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
