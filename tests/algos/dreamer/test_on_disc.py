import numpy as np
import pytest

from lib.algos.dreamer import on_disc
from lib.algos.dreamer.learn_model import learn_model
from lib.core.errors import UserError
from lib.envs import disc

E = 3


@pytest.fixture(scope="module")
def data():
    return disc.episodes(E, "moving", "train", 0), disc.episodes(E, "moving", "test", 0)


@pytest.mark.parametrize("objective", on_disc.OBJECTIVES)
def test_every_objective_learns_and_is_probed(objective, data):
    train, test = data
    agent = on_disc.new_agent(on_disc.configured(objective, 1000.0, 0), train)
    assert all(np.isfinite(values).all() for values in learn_model(agent, 2).values())
    sizes = agent.cfg.latent.variables + agent.cfg.latent.deter
    assert on_disc.features(agent, test).shape == (E, disc.STEPS + 1, sizes)
    r2 = on_disc.probe_position(agent, train, test)
    assert r2.shape == (2,) and np.isfinite(r2).all()


def test_a_probe_is_the_same_every_time(data):
    agents = [on_disc.new_agent(on_disc.configured("contrast", 1.0, 0), data[0]) for _ in "ab"]
    first, second = (on_disc.probe_position(agent, *data) for agent in agents)
    np.testing.assert_array_equal(first, second)


def test_settings_are_the_published_ones_of_each_background():
    plain, moving = (on_disc.configured("prototypes", rho, 0) for rho in (1.0, 1000.0))
    assert (plain.objective.reward_scale, moving.objective.reward_scale) == (1.0, 1000.0)
    assert (plain.representation.prototypes.norm, moving.representation.prototypes.norm) == (0, 1)
    assert on_disc.configured("contrast", 1.0, 0).latent.posterior == "embedding"


def test_an_unknown_objective_is_said():
    with pytest.raises(UserError, match="unknown objective of the disc 'prototype'"):
        on_disc.configured("prototype", 1.0, 0)
