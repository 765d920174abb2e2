from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.algos import registry
from lib.algos.decision_transformer.agent import SequenceAgent
from lib.core.errors import NonFiniteError, UserError
from lib.core.seeding import Streams, generator
from lib.envs.api import data_parts
from tests.sequence_tiny import episodes, tiny, world
from tests.tiny import same


def agent(method: str = "dt-lora", seed: int = 0, **changes) -> SequenceAgent:
    run = tiny(method, **changes)
    return registry.build_agent(run, world(run), Streams(seed), torch.device("cpu"))


def begun(method: str = "dt-lora", task: int = 0, **changes) -> SequenceAgent:
    one = agent(method, **changes)
    one.begin_task(task)
    for part in one.parts[task]:
        one.store("learner", episodes(5, 7, part.actions.size))
    return one


# Pre-training -----------------------------------------------------------------------------------


def test_batches_alternate_between_domains():
    one, drawn = begun(), []
    real = one._draw

    def spy(batch, domain=0, share=slice(None)):
        window = real(batch, domain, share)
        drawn.append((batch, int(window.real.sum(1)[0])))
        return window

    one._draw = spy
    one.update(2)
    assert drawn == [(8, 2), (8, 1)] * 2  # two numbers in an action, then one


def test_gradients_of_both_domains_are_averaged_into_one_step():
    one = begun("dt-full", model__dropout=0.0)
    windows = [one._draw(8, domain) for domain in range(2)]
    one._draw = lambda batch, domain, share: windows[domain]
    sums = {name: torch.zeros_like(p) for name, p in one.optimizer.named.items()}
    for window in windows:
        loss, _ = one._loss(window)
        named = one.optimizer.named
        found = torch.autograd.grad(loss, named.values())
        for (name, p), gradient in zip(named.items(), found, strict=True):
            sums[name] += gradient / 2
            assert p.grad is None
    norm = torch.stack([g.norm() for g in sums.values()]).norm()
    one._update()
    scale = min(1.0, 0.25 / float(norm))
    for name, p in one.optimizer.named.items():
        torch.testing.assert_close(p.grad, sums[name] * scale, atol=1e-6, rtol=1e-3)


def test_the_rate_of_pre_training_follows_its_schedule_and_the_streams_is_constant():
    one = begun("dt-full")  # 4 updates, a rise over 2 of them
    told = []
    for _ in range(4):
        one.update(1)
        told.append(one.optimizer.adamw.param_groups[0]["lr"])
    assert told[:3] == [5e-4, 1e-3, 1e-3] and told[3] < 1e-3
    one.begin_task(1)
    one.store("learner", episodes(5, 7))
    one.update(2)
    assert {group["lr"] for group in one.optimizer.adamw.param_groups} == {1e-3}


def test_weights_of_linear_layers_alone_are_decayed():
    one = begun("dt-full")
    shrinks, stays = one.optimizer.adamw.param_groups
    assert (shrinks["weight_decay"], stays["weight_decay"]) == (0.01, 0.0)
    held = {id(p) for p in shrinks["params"]}
    assert id(one.model.head.weight) in held and id(one.model.head.bias) not in held
    one = begun("dt-lora", 1)
    (only,) = one.optimizer.adamw.param_groups
    assert only["weight_decay"] == 0.0


def test_moments_stay_over_a_boundary_of_the_stream_and_begin_anew_after_pre_training():
    one = begun("dt-full")
    one.update(2)
    one.begin_task(1)
    assert not one._moments()
    one.store("learner", episodes(5, 7))
    one.update(2)
    kept = one._moments()
    one.begin_task(2)
    assert same(kept, one._moments()) == [] and kept
    one = begun("dt-full", 1, tune__reset_optimizer=True)
    one.update(2)
    one.begin_task(2)
    assert not one._moments()


# Experience -------------------------------------------------------------------------------------


def test_the_return_wanted_is_the_best_of_each_file():
    one, found = agent(), episodes(5, 7)
    one.begin_task(0)
    one.store("learner", found)
    one.store("learner", episodes(5, 7, 1)._replace(reward=torch.full((5, 7), 99.0)))
    assert float(one.targets[0, 0]) == pytest.approx(float(found.reward.sum(1).max()))
    assert float(one.targets[0, 1]) == 7 * 99


def test_copies_that_do_not_take_turns_play_the_first_file():
    one = agent()
    assert one.played(0, 3) == [0, 0, 0]
    one.domain.tasks = (SimpleNamespace(turns=("a", "b")), *one.domain.tasks[1:])
    assert one.played(0, 3) == [0, 1, 0]


def test_every_file_may_have_a_scale_of_its_own():
    one = agent(data__reward_scale=[2.0, 4.0, 8.0])
    assert [len(parts) for parts in one.parts] == [2, 1, 1]
    scales = [one.scale(0), one.scale(0, 1), one.scale(1), one.scale(2)]
    assert scales == [2, 4, 8, 8]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"action": 2.0}, "an action of task 'point-mass-free' holds 2 .*outside the bins"),
        ({"obs": float("nan")}, "observations of task 'point-mass-free' hold numbers"),
    ],
)
def test_files_with_impossible_numbers_are_refused_by_the_name_of_their_task(changed, message):
    one, found = agent(), episodes(5, 7)
    one.begin_task(0)
    for name, value in changed.items():
        getattr(found, name)[0, 0, 0] = value
    with pytest.raises(UserError, match=message):
        one.store("learner", found)


# Learning ---------------------------------------------------------------------------------------


def test_dropout_draws_from_the_runs_own_stream_and_from_no_other():
    ends = []
    for global_seed in (1, 2):
        one = begun("dt-full", model__dropout=0.3)
        torch.manual_seed(global_seed)
        one.update(3)
        after = torch.rand(3)
        torch.manual_seed(global_seed)
        assert torch.equal(after, torch.rand(3)), "PyTorch's generator is left alone"
        ends.append(one.state_dict())
    assert same(*ends) == []
    still = begun("dt-full", model__dropout=0.0)
    still.update(3)
    assert same(still.state_dict(), ends[0]) != []


def test_a_number_that_is_none_is_told_with_its_task_and_update():
    one = begun("dt-full")
    one.model.head.bias.data[0] = float("nan")
    one.update(1)
    with pytest.raises(NonFiniteError, match="pretraining/action.* in task 1 near update 1.*rate"):
        one.check_finite()


def test_reports_name_what_a_modulator_adds():
    for method, part in (("dt-l2m", "match"), ("dt-hide-lora", "contrast"), ("dt-ewc", "anchor")):
        one = begun(method, 1)
        one.update(1)
        found = one.report()
        assert set(found) == {f"train/policy/{n}" for n in ("action", "grad_norm", part)}
        assert all(np.isfinite(value) for value in found.values())
        assert one.report() == {}


# Acting -----------------------------------------------------------------------------------------


def test_an_oracle_acts_every_task_with_its_own_set_and_pre_trained_ones_with_none():
    one, draws = begun(), generator(0, "sets")
    for p in one.model.parameters():  # small initial weights would decide all alike
        p.data *= 9
    for task in (1, 2):
        one.begin_task(task)
        for p in one.modulator.sets[task - 1].parameters():
            p.data += torch.randn(p.shape, generator=draws)
    one.targets[:] = one.targets[0]
    obs = torch.rand(50, 8)
    acts = [one.act(obs, None, heads=one.load({"task": task}))[0] for task in range(3)]
    assert torch.equal(acts[2], one.act(obs, None)[0])
    assert all(not torch.equal(acts[a], acts[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    with pytest.raises(IndexError):
        one.load({"task": 3})


def test_the_return_that_a_task_asks_for_is_part_of_how_it_is_acted():
    one = begun("dt-full")
    one.update(4)
    one.begin_task(1)
    one.targets[0], one.targets[1] = 0.5, -1.0
    obs = torch.rand(50, 8)
    _, wants = one.act(obs, None)
    _, before = one.act(obs, None, heads={"task": 0})
    assert float(wants.to_go[0, -1]) == -1 and float(before.to_go[0, -1]) == 0.5


def test_a_task_of_one_number_is_answered_with_one():
    one = agent(tasks=["line", "free"], pretrain__tasks=1)
    assert [data_parts(one.domain, i)[0].actions.size for i in range(2)] == [1, 2]
    one.begin_task(0)
    assert one.act(torch.rand(5, 8), None)[0].shape == (5, 1)
    one.begin_task(1)
    assert one.act(torch.rand(5, 8), None)[0].shape == (5, 2)


# Looking in -------------------------------------------------------------------------------------


def test_an_audit_says_how_often_tasks_are_told():
    one = begun("dt-hide-lora")
    one.update(1)
    one.begin_task(1)
    one.store("learner", episodes(5, 7))
    one.update(1)
    held = one.domain.new_held_out()
    for task in range(2):
        obs = torch.rand(4, 31, 8)
        one.domain.hold_out(held, task, obs, torch.zeros(4, 30, 2), torch.ones(4, 30))
    found, arrays = one.audit(one.domain, held, torch.Generator())
    name = "point-mass-turn-0"
    assert set(found) == {f"audit/{name}/inferred_{step}" for step in (1, 5, 10, "end")}
    assert set(found.values()) == {1.0}, "one task is always told"
    np.testing.assert_equal(arrays["inferred_as"], [[1.0, 0.0], [np.nan, np.nan]])
    oracle = begun("dt-lora", 1)
    assert oracle.audit(oracle.domain, held, torch.Generator()) == ({}, {})
