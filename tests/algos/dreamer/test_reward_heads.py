"""Reward heads: the sizes of the specification, and what a meta head reads."""

import pytest
import torch

from lib.algos.dreamer import reward_heads
from lib.algos.dreamer.networks import count
from lib.core import config
from lib.experiments import run_config
from tests.algos.dreamer.models import T, generator, reached, settings

F = 13


def reading(**meta):
    """A small run whose meta head reads the heads of two others."""
    given = {"autoencoder": "there", "rewards": ["one", "two"]} | meta
    return config.merge(settings(), {"meta": given})


def head(**meta):
    made = reward_heads.build(F, reading(**meta), generator())
    for parameter in made.parameters():  # biases start at zero, which would hide mistakes
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator(1))
    return made


def test_published_heads_have_as_many_numbers_as_the_specification_says():
    # 230 features: 230 * 400 + 400 + 400 * 400 + 400 + 401 = 253,201. Of the meta head the
    # specification's own sum, 232 * 400 + 400 + 401, is 93,601; it says 93,201.
    cfg = run_config.resolve({"preset": "dmc-full", "method": "dreamer-v1"})
    assert count(reward_heads.build(230, cfg, generator())) == 253_201
    cfg = config.merge(cfg, {"meta": {"autoencoder": "there", "rewards": ["one", "two"]}})
    made = reward_heads.build(230, cfg, generator())
    assert count(made.net) == 232 * 400 + 400 + 401 == 93_601
    assert [count(source) for source in made.sources] == [253_201, 253_201]


def test_predictions_come_first_and_features_after_them():
    made, x = head(), torch.randn(T, 3, F, generator=generator(2))
    first, last = made.net[0], made.net[2]
    told = torch.stack([source(x) for source in made.sources], -1)
    hidden = torch.nn.functional.elu(torch.cat((told, x), -1) @ first.weight.T + first.bias)
    torch.testing.assert_close(made(x), (hidden @ last.weight.T + last.bias)[..., 0])
    assert made(x).shape == (T, 3)


def test_another_source_makes_another_prediction_unless_it_is_the_control():
    # the released head fails this: it computes the predictions and leaves them out
    x = torch.randn(5, F, generator=generator(2))
    for use, changes in ((True, True), (False, False)):
        made = head(use_sources=use)
        before = made(x)
        with torch.no_grad():
            made.sources[1].net[-1].bias += 1
        assert torch.equal(made(x), before) != changes


def test_the_control_reads_zeros_where_the_predictions_were():
    made, x = head(use_sources=False), torch.randn(5, F, generator=generator(2))
    zeros = torch.cat((torch.zeros(5, 2), x), -1)
    torch.testing.assert_close(made(x), made.net(zeros)[:, 0])


def test_gradients_pass_through_the_sources_into_features():
    made = head()
    with torch.no_grad():
        made.net[0].weight[:, 2:] = 0  # the features themselves are not read
    x = torch.randn(5, F, generator=generator(2)).requires_grad_()
    made.sources.requires_grad_(False)
    total = made(x).sum()
    (grad,) = torch.autograd.grad(total, x, retain_graph=True)
    assert grad.abs().sum() > 0 and reached(total, made.net)


def test_hidden_layers_are_as_many_as_asked_for():
    assert len([layer for layer in head(layers=3).net if hasattr(layer, "weight")]) == 4


@pytest.mark.parametrize("named", [[], ["one"], ["one", "two", "three", "four"]])
def test_any_number_of_sources_makes_a_head(named):
    made = reward_heads.build(F, reading(rewards=named), generator())
    kind = reward_heads.MetaRewardHead if named else reward_heads.RewardHead
    assert isinstance(made, kind) and made(torch.zeros(5, F)).shape == (5,)
