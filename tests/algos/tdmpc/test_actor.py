import copy

import pytest
import torch

from lib.engine.optim import Adam
from tests.tiny import in_task, same, tiny


def test_one_optimiser_owns_reward_and_critics_and_another_the_policy():
    actor = in_task(tiny(), 0).learner
    heads = actor.heads

    def held(adam: Adam) -> set[int]:
        return {p.data_ptr() for p in adam.parameters}

    def owned(*modules: torch.nn.Module) -> set[int]:
        return {p.data_ptr() for m in modules for p in m.parameters()}

    assert held(actor.heads_adam) == owned(heads.reward_net, heads.q)
    assert held(actor.policy_adam) == owned(heads.policy_net)


@pytest.mark.parametrize("with_replay", [True, False])
def test_an_actor_is_restored_exactly(with_replay):
    agent, other = in_task(tiny(), 1), in_task(tiny(seed=5), 1)
    agent.update(2)
    saved = copy.deepcopy(agent.reviewer.state_dict(with_replay))
    assert ("buffer" in saved) == with_replay
    other.reviewer.load_state_dict(saved)
    assert same(other.reviewer.state_dict(with_replay), saved) == []
