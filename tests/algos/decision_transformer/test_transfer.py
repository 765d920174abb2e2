from pathlib import Path

import pytest
import torch

from lib.algos import registry
from lib.algos.decision_transformer.agent import SequenceAgent
from lib.core.errors import UserError
from lib.core.seeding import Streams
from tests.sequence_tiny import episodes, tiny, world


def agent(method: str = "dt-lora", seed: int = 0, **changes) -> SequenceAgent:
    run = tiny(method, **changes)
    return registry.build_agent(run, world(run), Streams(seed), torch.device("cpu"))


def learnt(seed: int = 0) -> SequenceAgent:
    one = agent(seed=seed)
    one.begin_task(1)
    one.store("learner", episodes(5, 7))
    one.update(1)
    return one


def test_modules_of_another_model_are_refused_by_its_fingerprint():
    one, other = learnt(), agent(seed=1)
    state = one.state_dict(with_replay=False)
    other.begin_task(1)
    told = f"were trained on the model {one.base}, and the one at hand is {other.base}"
    with pytest.raises(UserError, match=told) as error:
        other.capabilities().transfer.load_heads(state)
    assert "\n" not in str(error.value) and one.base != other.base
    other.capabilities().transfer.load_world_model(state["world_model"])
    other.capabilities().transfer.load_heads(state)
    assert torch.equal(other.modulator.sets[0].q_b, one.modulator.sets[0].q_b)


def test_what_goes_on_learning_is_no_part_of_a_fingerprint():
    one = agent("dt-hide-lora", modulators__hide_lora__tap="head")
    one.begin_task(1)
    one.model.head.bias.data += 1
    one.check_base(one.base)
    one.model.state.bias.data += 1
    with pytest.raises(UserError, match="the one at hand is"):
        one.check_base(one.base)


def test_runs_of_other_layouts_are_refused():
    transfer, path = agent().capabilities().transfer, Path("there")
    other = tiny(model__bins=11, model__context=2)
    told = "model.context 2 there, 3 here; model.bins 11 there, 7 here"
    with pytest.raises(UserError, match=told):
        transfer.check(other, path)
    transfer.check(tiny("dt-ewc"), path)
