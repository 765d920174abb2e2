"""What every modulator promises: what learns, what stays, and that a run can be saved anywhere."""

import pytest
import torch

from lib.algos import registry
from lib.algos.decision_transformer.agent import SequenceAgent
from lib.algos.decision_transformer.modulators import KNOWN
from lib.algos.decision_transformer.presets import METHODS
from lib.core import config
from lib.core.seeding import Streams
from tests.sequence_tiny import episodes, tiny, world
from tests.tiny import same

STEPS = 4  # updates of a task of the preset


def agent(method: str = "dt-full", **changes) -> SequenceAgent:
    run = tiny(method, **changes)
    return registry.build_agent(run, world(run), Streams(run.seed), torch.device("cpu"))


def learn(one: SequenceAgent, task: int, updates: int = STEPS) -> None:
    one.begin_task(task)
    for seed, part in enumerate(one.parts[task]):
        one.store("learner", episodes(5, 7, part.actions.size, seed=10 * task + seed))
    one.update(updates)


def copied(state: dict) -> dict:
    return {name: value.detach().clone() for name, value in state.items()}


def test_every_kind_has_a_method():
    assert {row["modulator"]["kind"] for row in METHODS.values()} == set(KNOWN)


@pytest.mark.parametrize("method", METHODS)
def test_what_learns_changes_and_nothing_else(method):
    one = agent(method)
    learn(one, 0)
    one.begin_task(1)
    learning = set(one.optimizer.named)
    before = copied({f"model.{n}": p for n, p in one.model.named_parameters()})
    before |= copied({f"modulator.{n}": p for n, p in one.modulator.named_parameters()})
    learn(one, 1)
    after = {f"model.{n}": p for n, p in one.model.named_parameters()}
    after |= {f"modulator.{n}": p for n, p in one.modulator.named_parameters()}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {"modulator.tii.weight", "modulator.tii.bias"}
    assert changed and changed - statistics <= learning
    if one.modulator.keeps_base:
        assert not [name for name in changed if name.startswith("model.")]


@pytest.mark.parametrize("method", ["dt-lora", "dt-hide-lora"])
def test_modules_of_earlier_tasks_keep_their_bytes(method):
    one = agent(method, tasks=["pretrain", "turn-0", "turn-90", "turn-180"])
    learn(one, 0)
    learn(one, 1)
    kept = copied(one.modulator.sets[0].state_dict())
    base = copied(one.model.state_dict())
    for task in (2, 3):
        learn(one, task)
        assert same(kept, one.modulator.sets[0].state_dict()) == []
        assert same(base, one.model.state_dict()) == []
        assert one.modulator.sets[task - 1].q_b.any()
    assert same(kept, one.modulator.sets[1].state_dict()) != []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", [(1, 0), (1, 3), (2, 0), (2, 2), (2, 4)])
def test_a_run_saved_anywhere_goes_on_alike(method, at):
    task, updates = at
    one = agent(method)
    for earlier in range(task):
        learn(one, earlier)
    learn(one, task, updates)
    other = agent(method)
    other.begin_task(task)
    state, streams = one.state_dict(), one.streams.state_dict()
    other.load_state_dict(state)
    other.streams.load_state_dict(streams)
    for seed, part in enumerate(other.parts[task]):
        other.store("learner", episodes(5, 7, part.actions.size, seed=10 * task + seed))
    assert same(state, other.state_dict()) == []
    for each in (one, other):
        each.update(STEPS - updates)
    assert same(one.state_dict(), other.state_dict()) == []
    assert same(one.streams.state_dict(), other.streams.state_dict()) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_fresh_modulator_leaves_what_was_pre_trained_as_it_was(method):
    one = agent(method)
    learn(one, 0)
    if not one.modulator.begins_unchanged:
        return
    obs = torch.rand(5, 8)
    before, _ = one.act(obs, None)
    one.begin_task(1)
    one.targets[1] = one.targets[0]
    assert torch.equal(one.act(obs, None)[0], before)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_written_down(method):
    run = tiny(method)
    assert registry.from_dict(config.to_dict(run)) == run
