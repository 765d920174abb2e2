"""World models that learn alone from the same episodes, asked what others paid."""

import numpy as np
import pytest

from lib.analysis import reward_fit
from lib.core.errors import UserError
from tests import tiny as grid_tiny
from tests.dreamer_tiny import SETTINGS

OVERRIDES = SETTINGS | {
    "env.domain": "pendulum",
    "env.observation": "state",
    "env.action_repeat": 2,
    "env.episode_length": 22,
}
GIVEN = {
    "preset": "sources-quick",
    "method": "dreamer-v1",
    "tasks": ["target"],
    "device": "cpu",
    "overrides": OVERRIDES,
}


def test_the_error_falls_and_every_arm_sees_the_same(monkeypatch):
    rates = {"slow": 0.0, "fast": 3e-2}
    arms = {
        name: reward_fit.beginning(
            GIVEN | {"overrides": OVERRIDES | {"update.model_lr": rate, "update.decay": 0.0}}
        )
        for name, rate in rates.items()
    }
    seen = []
    real = reward_fit.errors
    monkeypatch.setattr(reward_fit, "errors", lambda *given: seen.append(given[2]) or real(*given))
    found = reward_fit.reward_fit(arms, (0, 1), marks=(1, 40), episodes=3, held_out=2)
    assert {name: errors.shape for name, errors in found.items()} == dict.fromkeys(rates, (2, 2))
    assert np.isfinite(found["fast"]).all()
    assert np.array_equal(found["slow"][:, 0], found["slow"][:, 1]), "nothing was learnt"
    assert (found["fast"][:, 1] < found["fast"][:, 0]).all()
    assert seen[0] is seen[1] and seen[2] is seen[3] and seen[0] is not seen[2]
    assert seen[0].reward.shape == (5, 11)


def test_held_out_episodes_are_not_learnt_from():
    agent, domain = reward_fit.beginning(GIVEN)(0)
    played = reward_fit.at_random(domain, 5, 0)
    reward_fit.errors(agent, domain, played, 2, (1,), 0)
    assert agent.replay.episodes == 3


def test_equal_seeds_give_equal_errors():
    arms = {"one": reward_fit.beginning(GIVEN), "two": reward_fit.beginning(GIVEN)}
    found = reward_fit.reward_fit(arms, (3,), marks=(2,), episodes=2, held_out=1)
    assert np.array_equal(found["one"], found["two"])


def test_what_cannot_be_asked_is_said():
    with pytest.raises(UserError, match="0 episodes to learn from and 5"):
        reward_fit.reward_fit({}, (0,), episodes=0)
    given = {"preset": "grid-quick", "method": "tdmpc", "overrides": grid_tiny.SETTINGS}
    begin = reward_fit.beginning(given | {"tasks": ["room-1"], "device": "cpu"})
    with pytest.raises(UserError, match="method 'tdmpc' learn no world model alone"):
        reward_fit.reward_fit({"grid": begin}, (0,), episodes=1, held_out=1)
