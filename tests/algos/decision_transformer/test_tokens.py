import pytest
import torch

from lib.algos.decision_transformer.tokens import (
    NOTHING,
    padded,
    returns_to_go,
    to_actions,
    to_tokens,
)


@pytest.mark.parametrize("decode", ["center", "lower"])
def test_every_bin_comes_back_as_itself(decode):
    token = torch.arange(64)
    assert torch.equal(to_tokens(to_actions(token, 64, decode), 64), token)


def test_a_bin_stands_for_its_centre_or_its_lower_edge():
    # Four bins of width 1/2: [-1, -1/2), [-1/2, 0), [0, 1/2), [1/2, 1].
    action = torch.tensor([-1.0, -0.6, -0.5, 0.0, 0.7, 1.0])
    token = to_tokens(action, 4)
    assert token.tolist() == [0, 0, 1, 2, 3, 3]
    assert to_actions(token, 4, "center").tolist() == [-0.75, -0.75, -0.25, 0.25, 0.75, 0.75]
    assert to_actions(token, 4, "lower").tolist() == [-1, -1, -0.5, 0, 0.5, 0.5]


def test_a_centre_is_half_a_bin_nearer_on_average_than_an_edge():
    action = torch.linspace(-1, 1, 10_001)
    centre, edge = (to_actions(to_tokens(action, 64), 64, how) for how in ("center", "lower"))
    assert abs(float((centre - action).mean())) < 1e-4
    assert abs(float((edge - action).mean()) + 1 / 64) < 1e-4


def test_returns_to_go_by_hand():
    # 1 + 0 + 2, 0 + 2, 2; halved.
    assert returns_to_go(torch.tensor([1.0, 0.0, 2.0]), 2.0).tolist() == [1.5, 1.0, 1.0]


def test_dimensions_that_an_action_lacks_do_nothing():
    wide = padded(torch.tensor([[0.5, -0.5]]), 5)
    assert wide.tolist() == [[0.5, -0.5, 0, 0, 0]]
    assert int(to_tokens(torch.tensor(NOTHING), 64)) == 32  # as stored by the published code
