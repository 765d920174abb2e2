"""What evaluations plan with, where it is an average of what learns."""

import pytest
import torch

from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.averages import newest_share
from lib.engine.seed_batch import SeedBatch
from tests.oracle.agent import PlainAgent
from tests.oracle.ready import apart, copied, ready, settings, states, with_seed

SHARE = 0.3


def agent(cls=ContinualAgent, kind="discrete", task=1, **changes):
    return ready(cls, settings("drago", kind, **{"learning__average": SHARE} | changes), task)


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_the_newest_count_as_much_as_the_others_until_there_are_enough():
    assert [newest_share(0.25, n) for n in range(6)] == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 4, 1 / 4]


def test_by_default_there_is_no_average():
    own = agent(learning__average=1.0)
    assert own.averages is None
    assert own.evaluated_dynamics is own.dynamics and own.evaluated_heads is own.learner.heads


def test_the_average_of_three_updates_by_hand():
    own, seen = agent(), []
    for _ in range(3):
        own.update(1)
        seen.append((weights(own.dynamics), weights(own.learner.heads)))
    # shares of the newest: 1, 1/2, 1/3; all weigh the same
    for part, held in enumerate((own.evaluated_dynamics, own.evaluated_heads)):
        wanted = torch.stack([each[part] for each in seen]).mean(0)
        torch.testing.assert_close(weights(held), wanted, rtol=1e-5, atol=1e-6)
    own.update(1)  # from now on 0.3
    wanted = weights(own.evaluated_dynamics)
    before = torch.stack([each[0] for each in seen]).mean(0)
    torch.testing.assert_close(wanted, before.lerp(weights(own.dynamics), SHARE))


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_evaluations_alone_plan_with_it_as_on_the_plain_path(kind):
    fast, plain = agent(kind=kind), agent(PlainAgent, kind)
    for one in (fast, plain):
        one.update(4)
        with torch.no_grad():  # an average far from what learns
            for p in one.evaluated_dynamics.parameters():
                p.mul_(3)
            for p in one.evaluated_heads.parameters():
                p.mul_(-1)
    obs = states(3)
    for explore in (False, True):
        acts = [
            one.act(obs, None, explore=explore, generator=torch.Generator().manual_seed(5))
            for one in (fast, plain)
        ]
        torch.testing.assert_close(acts[0][0], acts[1][0], rtol=1e-3, atol=1e-4)
    told = [
        fast.act(obs, None, explore=e, generator=torch.Generator().manual_seed(5))[1]
        for e in (False, True)
    ]
    assert not torch.allclose(*told, atol=1e-3)


def test_a_task_begins_without_the_last_ones_average():
    own = agent(task=0)
    own.update(3)
    assert not torch.equal(weights(own.evaluated_dynamics), weights(own.dynamics))
    own.begin_task(1)
    assert torch.equal(weights(own.evaluated_dynamics), weights(own.dynamics))
    assert torch.equal(weights(own.evaluated_heads), weights(own.learner.heads))


def test_what_others_start_from_is_what_was_evaluated():
    own = agent()
    own.update(3)
    kept = own.state_dict(with_replay=False)
    held = own.evaluated_dynamics.state_dict()
    assert all(torch.equal(kept["world_model"]["dynamics"][name], held[name]) for name in held)
    full = own.state_dict()
    newest = own.dynamics.state_dict()
    assert all(torch.equal(full["world_model"]["dynamics"][name], newest[name]) for name in newest)
    heads = own.capabilities().heads.save()["heads"]
    assert all(torch.equal(heads[k], v) for k, v in own.evaluated_heads.state_dict().items())


def test_a_saved_agent_goes_on_with_its_average():
    own = agent()
    own.update(3)
    other = agent()
    other.load_state_dict(copied(own.state_dict()))
    other.streams.update.set_state(own.streams.update.get_state())  # their owner's work
    assert not apart(other.averages.state_dict(), own.averages.state_dict(), 0)
    for one in (own, other):
        one.update(2)
    assert not apart(other.averages.state_dict(), own.averages.state_dict(), 0)


def test_seeds_together_have_the_averages_that_each_has_alone():
    cfg = settings("drago", "discrete", learning__average=SHARE)
    alone = [ready(ContinualAgent, with_seed(cfg, seed), 1) for seed in (0, 1)]
    together = [ready(ContinualAgent, with_seed(cfg, seed), 1) for seed in (0, 1)]
    for one in alone:
        one.update(3)
    SeedBatch(together).update(3)
    for one, other in zip(alone, together, strict=True):
        assert not apart(one.averages.state_dict(), other.averages.state_dict(), 1e-4)
