import pytest
import torch

from lib.algos.decision_transformer.acting import inferred
from lib.algos.decision_transformer.modulators.api import Context, Data
from lib.algos.decision_transformer.modulators.hide_lora import HideLora, Settings
from lib.algos.decision_transformer.windows import Window
from lib.core.seeding import generator
from tests.sequence_tiny import CFG, B, model, window
from tests.tiny import same

SMALL = {"windows": 60, "centroids": 2, "epochs": 3, "samples": 16}


def modulator(**settings) -> HideLora:
    return HideLora(Settings(**(SMALL | settings)), Context(CFG, 3, generator(0, "init")))


def data(task: int) -> Data:
    """Windows of a task, told by where its states lie."""
    seeds = iter(range(1_000))

    def draw(count: int, padding: int = 0) -> Window:
        seen = window(100 * task + next(seeds), padding, count)
        return seen._replace(state=(seen.state + 4 * task) * seen.valid.unsqueeze(-1))

    return Data(draw, lambda count: draw(count, 2), lambda w: w.state.sum(), generator(1, "data"))


def learnt(made: HideLora, body, tasks: int) -> None:
    draws = generator(3, "sets")
    for task in range(tasks):
        made.begin_task(task)
        made.before_learning(body, data(task))
        for p in made.sets[task].parameters():
            p.data += torch.randn(p.shape, generator=draws) * 0.1
        made.after_learning(body, data(task))


def evidence(made: HideLora, body, task: int) -> torch.Tensor:
    from lib.algos.decision_transformer.model import state_features

    seen = data(task).draw(50)
    return made.evidence(state_features(body.read(body.embed(seen), seen.valid), seen.valid))


@pytest.mark.parametrize("tii", ["gaussian", "head"])
def test_tasks_are_told_by_what_the_model_alone_makes_of_them(tii):
    made, body = modulator(tii=tii), model()
    learnt(made, body, 2)
    assert made.known.tolist() == [True, True, False]
    for task in range(2):
        told = evidence(made, body, task)
        assert torch.isfinite(told).all()
        assert (inferred(made, told) == task).float().mean() > 0.9
    assert not (inferred(made, evidence(made, body, 2)) == 2).any(), "a task not met is not told"


def test_before_any_task_is_known_the_first_is_taken():
    made, body = modulator(), model()
    told = evidence(made, body, 1)
    assert not told.any() and not inferred(made, told).any()


def test_a_set_begins_as_a_copy_of_the_one_before():
    made, body = modulator(), model()
    learnt(made, body, 1)
    assert same(made.sets[0].state_dict(), made.sets[1].state_dict()) != []
    made.begin_task(1)
    assert same(made.sets[0].state_dict(), made.sets[1].state_dict()) == []


def test_a_share_of_earlier_sets_is_merged_into_what_acts():
    made, body = modulator(merge=0.1), model()
    learnt(made, body, 3)
    e = [made.sets[t].q_b for t in range(3)]
    torch.testing.assert_close(made.merged(2)["q_b"], 0.05 * (e[0] + e[1]) + 0.9 * e[2])
    assert torch.equal(made.merged(0)["q_b"], e[0])
    made.settings = Settings(**SMALL)
    assert made.merged(2)["q_b"] is e[2]


def test_features_are_pushed_away_from_those_of_earlier_tasks():
    made, body = modulator(contrast=1.0), model()
    learnt(made, body, 1)
    made.begin_task(1)
    seen = data(0).draw(B)
    features = body.read(body.embed(seen), seen.valid)
    near = made.penalty(body, features, seen)["contrast"]
    made.pushed[0] *= -1  # centroids on the other side of the origin
    assert near > made.penalty(body, features, seen)["contrast"]


def test_a_head_that_learns_is_balanced_over_tasks_and_alone():
    made, body = modulator(tap="head", windows=300), model()
    made.begin_task(0)
    assert {"model.head.weight", "model.head.bias"} <= set(made.trained(body))
    before = {name: p.detach().clone() for name, p in body.named_parameters()}
    learnt(made, body, 2)
    changed = {n for n, p in body.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {"head.weight", "head.bias"}
    assert made.class_count[0].sum() == 300 * CFG.actions and not made.class_count[2].any()
    assert body.head.weight.grad is None


def test_statistics_hold_a_fifth_of_short_windows():
    made, asked = modulator(), []
    given = data(0)

    def note(name, draw):
        return lambda count: asked.append((name, count)) or draw(count)

    made._windows(given._replace(draw=note("long", given.draw), starts=note("short", given.starts)))
    assert asked == [("short", 12), ("long", 48)]
