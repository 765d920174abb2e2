import pytest
import torch

from lib.algos.decision_transformer.named_adamw import NamedAdamW


def parameters() -> dict[str, torch.nn.Parameter]:
    return {name: torch.nn.Parameter(torch.ones(3)) for name in ("weight", "bias")}


def step(one: NamedAdamW, **gradients: float) -> torch.Tensor:
    one.clear()
    for name, value in gradients.items():
        one.named[name].grad = torch.full((3,), value)
    return one.step(0.1, 100.0)


def test_a_first_step_is_the_rate_and_what_shrinks_loses_its_share_besides():
    # Adam's first step is the rate; 0.1 * 0.5 of the weight goes before it: 0.95 - 0.1.
    one = NamedAdamW(parameters(), {"weight"}, 0.5)
    step(one, weight=2.0, bias=-2.0)
    assert one.named["weight"].detach().tolist() == pytest.approx([0.85] * 3)
    assert one.named["bias"].detach().tolist() == pytest.approx([1.1] * 3)


def test_a_parameter_without_a_gradient_stays_though_it_moved_before():
    one = NamedAdamW(parameters(), set(), 0.5)
    step(one, weight=1.0, bias=1.0)
    kept = one.named["weight"].detach().clone()
    step(one, bias=1.0)
    assert torch.equal(one.named["weight"], kept)
    step(one, weight=0.0)  # of a gradient of 0 it would have gone on
    assert not torch.equal(one.named["weight"], kept)


def test_gradients_are_limited_by_their_norm_together():
    one = NamedAdamW(parameters(), set(), 0.0)
    assert float(step(one, weight=2.0, bias=2.0)) == pytest.approx(24**0.5)
    one.named["bias"].grad = torch.full((3,), 2.0)
    one.named["weight"].grad = torch.full((3,), 2.0)
    one.step(0.1, 1.0)
    assert float(one.named["bias"].grad.square().sum() * 2) == pytest.approx(1.0, abs=1e-4)


def test_moments_are_carried_by_name_as_copies():
    one = NamedAdamW(parameters(), set(), 0.0)
    step(one, weight=1.0)
    assert set(one.moments()) == {"weight"}
    other = NamedAdamW(parameters() | {"new": torch.nn.Parameter(torch.ones(2))}, set(), 0.0)
    other.load_moments(one.moments())
    assert set(other.moments()) == {"weight"}
    before = one.moments()["weight"]["exp_avg"].clone()
    step(other, weight=-5.0)
    assert torch.equal(one.moments()["weight"]["exp_avg"], before)
    assert float(other.moments()["weight"]["step"]) == 2
