import pytest
import torch

from lib.algos.decision_transformer.anchors import Anchor, distance, fisher
from lib.algos.decision_transformer.modulators.api import Context, Data
from lib.algos.decision_transformer.modulators.ewc import Ewc, Settings
from lib.algos.decision_transformer.modulators.l2 import L2
from lib.algos.decision_transformer.modulators.l2 import Settings as Alike
from lib.core.seeding import generator
from tests.sequence_tiny import CFG, model, window

CONTEXT = Context(CFG, 3, generator(0, "init"))


def data(body) -> Data:
    seeds = iter(range(100))
    return Data(
        lambda count: window(next(seeds), batch=count),
        lambda count: window(0, 2, count),
        lambda seen: body(seen).square().mean(),
        generator(0, "data"),
    )


def test_a_distance_is_weighed_by_importance():
    # Two weights: 2 * (3 - 1)^2 + 5 * (0 - 1)^2 = 13.
    named = {"w": torch.nn.Parameter(torch.tensor([3.0, 0.0]))}
    anchor = Anchor({"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([2.0, 5.0])})
    assert float(distance(named, anchor).detach()) == 13


def test_importance_is_the_mean_square_of_batches_mean_gradients():
    body = model()
    found = fisher(body, data(body), 3, 5)["head.bias"]
    slow = torch.zeros_like(found)
    for seed in range(3):
        body.zero_grad()
        body(window(seed)).square().mean().backward()
        slow += body.head.bias.grad.square() / 3
    torch.testing.assert_close(found, slow)
    assert found.any()


@pytest.mark.parametrize("kind", [Ewc(Settings(batches=2, batch=5), CONTEXT), L2(Alike(), CONTEXT)])
def test_every_finished_task_holds_weights_by_an_anchor_of_its_own(kind):
    body = model()
    features = torch.zeros(())
    assert float(kind.penalty(body, features, window())["anchor"]) == 0
    kind.after_learning(body, data(body))
    assert float(kind.penalty(body, features, window())["anchor"].detach()) == 0
    body.head.bias.data += 1
    first = float(kind.penalty(body, features, window())["anchor"].detach())
    weight = kind.anchors[0].importance["head.bias"].sum()
    assert first == pytest.approx(400 * float(weight), rel=1e-4)
    kind.after_learning(body, data(body))
    body.head.bias.data += 1  # two away from the first anchor, one from the second
    both = float(kind.penalty(body, features, window())["anchor"].detach())
    second = float(kind.anchors[1].importance["head.bias"].sum())
    assert both == pytest.approx(400 * (4 * float(weight) + second), rel=1e-4)
