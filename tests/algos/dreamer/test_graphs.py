"""Recorded updates and decisions of the Dreamers: the same numbers, nothing read on the host.

Where there is no GPU, `tests.replaying` records the operations below PyTorch's autograd instead,
and runs them again without any of their Python.
"""

from typing import Any

import pytest
import torch

from lib.algos.dreamer import acting
from lib.algos.dreamer.agent import DreamerAgent
from lib.engine import seed_batch
from lib.engine.seed_batch import SeedBatch
from tests.algos.dreamer.test_equality import VARIATIONS, alone_and_together, made
from tests.dreamer_tiny import invented, observations
from tests.replaying import Replays
from tests.tiny import same

NAMES = (
    "discrete",
    "pixels",
    "plan2explore",
    "plan2explore, pixels alone",
    "gaussian",
    "exploring through the model",
    "rows go on",
    "layers normalised, exploring",
    "from all states",
    "free nats",
)


def life(of: DreamerAgent | SeedBatch, rounds: int = 2) -> list[Any]:
    """Updates, episodes and decisions in turns; everything that can be told of them.

    A slow critic is copied between two updates of a round, outside what is recorded.
    """
    agents, told = (of.agents if isinstance(of, SeedBatch) else [of]), []
    draws = torch.Generator().manual_seed(7)
    for round_ in range(rounds):
        of.update(4)
        for one in agents:
            one.store("learner", invented(one, seed=round_))
        for explore in (True, False):
            memory = None
            for _ in range(3):
                obs = observations(agents[0].obs_space, len(agents), 4, draws=draws)
                seen = obs if isinstance(of, SeedBatch) else obs[0]
                action, memory = of.act(seen, memory, explore=explore)
                told += [action.clone(), *(part.clone() for part in memory)]
    return [*told, *(one.state_dict() for one in agents)]


@pytest.fixture
def replaying(monkeypatch):
    """Switches recording on, the CPU's way; returns every stand-in that was made."""
    made_here = []

    def make(device, enabled=True):
        made_here.append(Replays(device))
        return made_here[-1]

    monkeypatch.setattr(seed_batch, "Graphs", make)
    monkeypatch.setattr(acting, "Graphs", make)
    return made_here


@pytest.mark.parametrize("name", NAMES)
def test_replayed_updates_and_decisions_equal_plain_ones(request, name):
    # recording also asserts that no operation reads a value, draws, or has a size by value
    plain = life(made(DreamerAgent, name))
    stand_ins = request.getfixturevalue("replaying")
    assert same(life(made(DreamerAgent, name)), plain) == []
    updates, acts = stand_ins[-2:]
    shared = VARIATIONS[name][0].get("method") == "dreamer-p2e-pixels"  # one policy for both
    assert len(updates.records) == 1 and len(acts.records) == (1 if shared else 2)


@pytest.mark.parametrize("name", ["discrete", "plan2explore"])
def test_replayed_updates_and_decisions_of_a_batch_equal_plain_ones(request, name):
    plain = life(alone_and_together(name)[1])
    request.getfixturevalue("replaying")
    assert same(life(alone_and_together(name)[1]), plain) == []


def test_moments_that_are_forgotten_reach_what_is_replayed(request):
    def crossing() -> list[Any]:
        agent = made(DreamerAgent, "discrete", boundary__reset_optimizers=True)
        told = life(agent, rounds=1)
        agent.begin_task(1)
        return [*told, *life(agent, rounds=1)]

    plain = crossing()
    request.getfixturevalue("replaying")
    assert same(crossing(), plain) == []
