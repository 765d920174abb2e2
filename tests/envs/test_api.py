import pytest
import torch

from lib.core.spaces import ActionSpace


def test_random_discrete_actions_are_one_hot_and_follow_the_warmup_chances(generator):
    actions = ActionSpace(3, discrete=True, warmup=(0.2, 0.2, 0.6))
    drawn = actions.random(20_011, generator)
    assert drawn.shape == (20_011, 3) and drawn.dtype == torch.float32
    assert (drawn.sum(1) == 1).all() and (drawn.amax(1) == 1).all()
    # standard error of a share is at most sqrt(.24 / 20011) = 0.0035
    assert drawn.mean(0).tolist() == pytest.approx([0.2, 0.2, 0.6], abs=0.015)


def test_random_discrete_actions_are_even_when_no_warmup_is_given(generator):
    share = ActionSpace(5, discrete=True).random(20_011, generator).mean(0)
    assert share.tolist() == pytest.approx([0.2] * 5, abs=0.015)


def test_random_continuous_actions_fill_the_box(generator):
    drawn = ActionSpace(2, discrete=False).random(20_011, generator)
    assert drawn.shape == (20_011, 2)
    assert -1 <= drawn.min() < -0.99 and 0.99 < drawn.max() <= 1
    assert drawn.mean(0).abs().max() < 0.02


def test_the_same_generator_state_draws_the_same_actions():
    actions = ActionSpace(3, discrete=True)
    first, second = (actions.random(101, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_drawing_random_actions_reads_nothing_back(generator, no_host_reads):
    with no_host_reads():
        ActionSpace(3, discrete=True, warmup=(0.2, 0.2, 0.6)).random(11, generator)
        ActionSpace(2, discrete=False).random(11, generator)


def test_the_guard_against_host_reads_notices_one(no_host_reads):
    with pytest.raises(AssertionError, match="reads the device"), no_host_reads():
        torch.ones(3).sum().item()


@pytest.mark.parametrize("warmup", [(0.5, 0.5), (0.5, 0.5, 0.5), (1.2, -0.2, 0.0)])
def test_warmup_chances_that_are_no_distribution_over_the_actions_are_refused(warmup):
    with pytest.raises(ValueError, match="not 3 action probabilities"):
        ActionSpace(3, discrete=True, warmup=warmup)


def test_continuous_actions_take_no_warmup_chances():
    with pytest.raises(ValueError, match="warmup"):
        ActionSpace(1, discrete=False, warmup=(1.0,))
