"""What breaks gymnasium's rules is told in one line: which environment, which call, which step."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lib.core.errors import UserError
from lib.envs.gym import custom
from lib.envs.gym.rules import fault
from tests.envs.gym.worlds import Counting

BOX = spaces.Box(-5.0, 5.0, (3,), np.float32)


class Breaking(gymnasium.Env):
    """Keeps the rules in an episode's first two steps, and breaks one in the third."""

    observation_space, action_space = BOX, spaces.Discrete(3)

    def __init__(self, third=None, first=None):
        self.third, self.first = third, first

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        fine = np.zeros(3, np.float32), {}
        return fine if self.first is None else self.first(*fine)

    def step(self, action):
        self.steps += 1
        fine = np.zeros(3, np.float32), 1.0, False, False, {}
        return fine if self.third is None or self.steps < 3 else self.third(*fine)


def explode(*fine):
    raise ZeroDivisionError("division\nby zero")


STEPS = {
    "four values": (lambda o, r, e, t, i: (o, r, e, i), "returned 4 values; gymnasium's is"),
    "nothing": (lambda *fine: None, "returned None of type NoneType"),
    "an error": (explode, "raised ZeroDivisionError: division by zero"),
    "another shape": (
        lambda o, *rest: (np.zeros(4, np.float32), *rest),
        r"observation of shape \(4,\); its space has \(3,\)",
    ),
    "the same size": (
        lambda o, *rest: (np.zeros((3, 1), np.float32), *rest),
        r"observation of shape \(3, 1\)",
    ),
    "ragged": (lambda o, *rest: ([1.0, [2.0]], *rest), "not an array of"),
    "text": (lambda o, *rest: (np.array(list("abc")), *rest), "of <U1; its space has float32"),
    "outside": (
        lambda o, *rest: (o + np.array([0, 7, 0]), *rest),
        r"with 7.0 at \[1\]; its space goes from -5.0 to 5.0",
    ),
    "NaN seen": (lambda o, *rest: (o * np.nan, *rest), "with nan in it"),
    "infinity seen": (lambda o, *rest: (o + np.inf, *rest), "with inf in it"),
    "NaN paid": (lambda o, r, *rest: (o, np.nan, *rest), "paid nan; a reward is a finite number"),
    "infinity paid": (lambda o, r, *rest: (o, -np.inf, *rest), "paid -inf; a reward is a finite"),
    "two rewards": (lambda o, r, *rest: (o, [1.0, 2.0], *rest), r"paid \[1.0, 2.0\] of type list"),
    "no reward": (lambda o, r, *rest: (o, None, *rest), "paid None"),
    "an unclear end": (lambda o, r, e, t, i: (o, r, None, t, i), "gave None of type NoneType as t"),
    "no info": (lambda o, r, e, t, i: (o, r, e, t, None), "as info; it is a dictionary"),
}

RESETS = {
    "no info": (lambda o, i: o, r"returned an array of \(3,\); gymnasium's is \(observation, info"),
    "three values": (lambda o, i: (o, i, 0), "returned 3 values"),
    "an error": (explode, "raised ZeroDivisionError"),
    "another shape": (lambda o, i: (np.zeros(2, np.float32), i), r"of shape \(2,\)"),
}


@pytest.mark.parametrize(("third", "message"), STEPS.values(), ids=STEPS)
def test_a_step_that_breaks_a_rule_is_told_with_its_number(third, message, generator):
    env = custom.custom_domain(lambda: Breaking(third=third)).make(0)
    env.reset(2, generator)
    for _ in range(2):
        env.step(env.actions.random(2, generator))
    with pytest.raises(
        UserError, match=rf"^breaking: step 3 of the episode with seed \d+ .*{message}"
    ) as told:
        env.step(env.actions.random(2, generator))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("first", "message"), RESETS.values(), ids=RESETS)
def test_a_reset_that_breaks_a_rule_is_told(first, message, generator):
    env = custom.custom_domain(lambda: Breaking(first=first)).make(0)
    with pytest.raises(UserError, match=rf"^breaking: reset with seed \d+ .*{message}"):
        env.reset(2, generator)


def test_an_environment_that_cannot_be_made_is_told():
    def broken():
        raise OSError("no such\nscreen")

    with pytest.raises(UserError, match="environment: making it raised OSError: no such screen"):
        custom.custom_domain(broken)


def test_a_copy_that_cannot_be_made_is_told(generator):
    made = []

    def once():
        if made:
            raise OSError("only one may run")
        made.append(1)
        return Counting()

    env = custom.custom_domain(once).make(0)
    with pytest.raises(UserError, match="counting: making another copy raised OSError: only one"):
        env.reset(2, generator)


def test_what_is_harmless_passes():
    assert fault(BOX, np.zeros(3, np.float64)) is None  # more digits than promised
    assert fault(BOX, [1, 2, 3]) is None
    assert fault(BOX, np.array([5.0 + 1e-6, 0, 0])) is None  # rounding
    assert fault(spaces.Box(-np.inf, np.inf, (2,)), np.array([1e30, -1e30])) is None
    assert fault(spaces.Discrete(3), np.int64(2)) is None


def test_what_is_outside_of_other_spaces_is_told():
    assert "outside of Discrete(3)" in fault(spaces.Discrete(3), 3)
    both = spaces.Dict(a=BOX, b=spaces.Discrete(2))
    assert fault(both, {"a": np.zeros(3), "b": 1}) is None
    assert fault(both, {"a": np.zeros(3)}) == "whose 'b' is missing"
    assert fault(both, {"a": np.zeros(2), "b": 1}).startswith("with 'a' of shape (2,)")
    assert "no dictionary of a, b" in fault(both, np.zeros(3))
    picture = spaces.Box(0, 255, (4, 4, 3), np.uint8)
    assert "of float64; its space has uint8" in fault(picture, np.zeros((4, 4, 3)))


def test_the_reward_of_an_array_of_one_is_taken(generator):
    env = custom.custom_domain(lambda: Breaking(lambda o, r, *rest: (o, np.ones(1), *rest))).make(0)
    env.reset(1, generator)
    paid = [env.step(env.actions.random(1, generator))[1] for _ in range(3)]
    assert torch.cat(paid).tolist() == [1, 1, 1]
