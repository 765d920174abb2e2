"""A way to explore is one file: its behaviour, its network, its pay."""

import importlib
import json
import sys

import pytest
import torch

from lib.algos.dreamer import exploration
from lib.algos.dreamer.exploration.api import Exploration
from lib.core import kinds
from lib.core.errors import UserError
from lib.runner.training import train
from tests.dreamer_tiny import PICKS, invented, new_agent, ready, tiny

BOLD = '''
"""A second actor is paid for what a network cannot tell of the last action; every step pays 1."""

import torch

from lib.algos.dreamer.behaviour import Behaviour
from lib.algos.dreamer.exploration.api import Exploration
from lib.algos.dreamer.networks import linear


def paid(model, imagined, teller):
    told = teller(imagined.features[:-1])
    return (told - imagined.action_into[:-1]).square().sum(-1)


class Bold(Exploration):
    behaviour = Behaviour("bold", "bold_critic", "boldness", paid, reads=("teller",))
    network = "teller"

    def build(self, features, actions, generator):
        return linear(features, actions.size, generator)

    def loss(self, network, model, observed, action):
        wrong = network(model.rssm.features(observed.state)) - action
        loss = wrong.square().sum(-1).mean()
        return loss, {"wrong": loss.detach()}

    def pay(self, episodes):
        return episodes._replace(reward=episodes.reward + 1)


EXPLORATION = Bold
'''


@pytest.fixture
def bold(tmp_path, monkeypatch):
    """One new file in the folder of ways to explore, and nothing else."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "bold.py").write_text(BOLD)
    monkeypatch.setattr(exploration, "__path__", [*exploration.__path__, str(folder)])
    found = kinds.found(exploration.__name__, exploration.__path__, "EXPLORATION")
    monkeypatch.setattr(exploration, "KNOWN", {**exploration.KNOWN, **found})
    importlib.invalidate_caches()
    yield
    sys.modules.pop("lib.algos.dreamer.exploration.bold")


def test_every_file_with_a_way_to_explore_is_known_by_its_name():
    assert set(exploration.KNOWN) == {"none", "plan2explore", "visits"}


def test_an_unknown_way_to_explore_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="unknown explore.bonus 'visit'.*did you mean 'visits'"):
        tiny(explore__bonus="visit")


def test_a_new_way_to_explore_is_one_new_file(bold, tmp_path):
    cfg = tiny(explore__bonus="bold")
    train(cfg, tmp_path / "run", progress=False, tensorboard=False)
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    keys = {key for line in lines for key in line.get("values", line)}
    assert {"train/teller/wrong", "train/boldness/actor", "train/behaviour/actor"} <= keys


def test_its_actor_collects_and_its_networks_learn(bold):
    agent = ready(tiny(explore__bonus="bold"))
    before = {name: adam.row.clone() for name, adam in agent.trained.items()}
    assert list(before) == ["model", "actor", "critic", "bold", "bold_critic", "teller"]
    agent.update(1)
    assert all(not torch.equal(adam.row, before[n]) for n, adam in agent.trained.items())
    acting = agent.seed_batch.computation.acting
    assert acting.policy(explore=True) == ("bold", False)
    assert acting.policy(explore=False) == ("actor", True)


def test_its_pay_is_what_is_stored(bold):
    plain, paid = (new_agent(tiny(explore__bonus=name)) for name in ("none", "bold"))
    for agent in (plain, paid):
        agent.store("learner", invented(agent, [11]))
    batches = [
        agent.replay.sample(3, 5, torch.Generator().manual_seed(0)) for agent in (plain, paid)
    ]
    more = batches[1].reward - batches[0].reward
    torch.testing.assert_close(more[1:], torch.ones(4, 3))  # row 0 may be an episode's beginning
    assert set(more[0].round().tolist()) <= {0.0, 1.0}


def test_none_adds_nothing():
    way = Exploration(tiny())
    agent = new_agent(tiny())
    episodes = invented(agent)
    assert way.pay(episodes) is episodes and way.behaviour is None and way.network is None
    assert way.state_dict() == {}
    for refused in (
        lambda: way.build(1, PICKS, torch.Generator()),
        lambda: way.loss(None, None, None, None),
        lambda: way.uncertainty(None, None, None, None, None),
    ):
        with pytest.raises(NotImplementedError, match="Exploration"):
            refused()
