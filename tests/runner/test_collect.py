"""Steps of episodes that go on: what is stored of them, and what is remembered for whom.

The world counts: an observation is the number of steps so far, and an episode ends by itself after
as many as its seed says, or is cut after 5.
"""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from lib.core.seeding import Streams
from lib.envs.gym.custom import custom_domain
from lib.runner.collect import Steps, source
from lib.runner.unfinished import Unfinished

LIMIT, E = 5, 3


class Counting(gymnasium.Env):
    """Ends after 2, 3, 4, or more steps than are allowed."""

    observation_space = spaces.Box(0, 100, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.end, self.count = (2, 3, 4, 99)[seed % 4], 0
        return self._look(), {}

    def step(self, action):
        self.count += 1
        over = self.count == self.end
        return self._look(), float(self.count), over, False, {"success": over}

    def _look(self):
        return np.array([self.count, self.end], np.float32)


@pytest.fixture(scope="module")
def domain():
    return custom_domain(Counting, LIMIT)


class Memory(NamedTuple):
    count: Tensor  # (..., 1) decisions since the beginning
    pair: list[Tensor]


class Agent:
    """Stores what it is given."""

    collects = "steps"

    def __init__(self, per_update: int = 6):
        self.steps_per_update, self.steps, self.stored = per_update, 0, []

    def count_steps(self, env_steps):
        self.steps += env_steps

    def store(self, role, episodes):
        assert role == "learner" and len(episodes.reward) == 1
        self.stored.append(episodes)


class Run:
    """As much of a run as a collector asks for."""

    def __init__(self, domain, seed: int, budget: int = 1000, per_update: int = 6):
        self.agent, self.streams, self.domain = Agent(per_update), Streams(seed), domain
        steps_of = lambda task: budget  # noqa: E731
        held = SimpleNamespace(parallel_envs=E, steps_of=steps_of)
        self.cfg, self.unfinished, self.played = SimpleNamespace(budget=held), None, 0
        self.state = SimpleNamespace(task=0)
        self.rotation = SimpleNamespace(last=Path("last.safetensors"))

    watched = staticmethod(nullcontext)

    task_env_steps = property(lambda self: self.agent.steps)

    def world(self, task):
        return self.domain.make(task)

    def store(self, role, episodes):
        self.agent.store(role, episodes)

    def stepped(self, decisions):
        self.played += decisions


class SeedBatch:
    """Checks what it is told to remember, and answers at random after `silent` decisions."""

    def __init__(self, silent: int = 0):
        self.silent, self.seen = silent, []

    def act(self, obs, memory, *, explore):
        assert explore
        lead = obs.shape[:2]
        action = torch.eye(2)[torch.zeros(lead, dtype=torch.long)]
        if self.silent:
            self.silent -= 1
            assert memory is None
            return action, None
        count = torch.zeros(*lead, 1) if memory is None else memory.count
        self.seen.append((obs[..., 0].clone(), count[..., 0].clone()))
        return action, Memory(count + 1, [count + 1, torch.ones(*lead, 2, 2)])


def steps(runs, batch=None) -> Steps:
    return source(batch or SeedBatch(), runs)


# What is stored ----------------------------------------------------------------------------------


def test_every_episode_is_stored_once_in_order_and_whole(domain):
    run = Run(domain, 0)
    play = steps([run])
    for _ in range(20):
        play.collect()
    play.close()
    assert isinstance(play, Steps)
    assert run.played == run.agent.steps == 20 * 6  # 2 rounds of 3 episodes are 6 steps
    stored = run.agent.stored
    assert sum(int(one.length) for one in stored) == run.played
    for one in stored:
        length = int(one.length)
        assert one.obs.shape[1:] == (length + 1, 2) and one.action.shape == (1, length, 2)
        assert one.obs[0, :, 0].tolist() == list(range(length + 1))
        assert one.reward[0].tolist() == list(range(1, length + 1))
        end = int(one.obs[0, 0, 1])
        assert bool(one.terminal) == bool(one.success) == (length == end)
        assert length <= min(LIMIT, end)


def test_what_a_task_leaves_unfinished_is_cut_and_not_terminal(domain):
    run = Run(domain, 1, per_update=3)
    play = steps([run])
    play.collect()
    play.close()
    assert [int(one.length) for one in run.agent.stored] == [1, 1, 1]
    assert not any(bool(one.terminal) or bool(one.success) for one in run.agent.stored)


def test_what_has_not_begun_is_not_stored(domain):
    run = Run(domain, 1)
    steps([run]).close()
    assert run.agent.stored == []


def test_a_time_limit_is_no_end(domain):
    run = Run(domain, 2)
    play = steps([run])
    for _ in range(20):
        play.collect()
    cut = [one for one in run.agent.stored if int(one.length) == LIMIT]
    assert cut and not any(bool(one.terminal) for one in cut)


@pytest.mark.parametrize("per_update", [1, 3, 7, 60])
@pytest.mark.parametrize("budget", [3, 33, 39])
def test_no_more_is_played_than_the_budget_allows(per_update, budget, domain):
    run = Run(domain, 0, budget, per_update)
    play, rounds = steps([run]), 0
    while run.agent.steps < budget:
        play.collect()
        rounds += 1
    assert run.agent.steps == budget
    per_round = max(1, per_update // E) * E
    assert rounds == -(-budget // per_round)


# What is remembered ------------------------------------------------------------------------------


def test_the_end_of_an_episode_is_forgotten_in_that_episode_alone(domain):
    batch, runs = SeedBatch(), [Run(domain, seed) for seed in (0, 1)]
    play = steps(runs, batch)
    for _ in range(20):
        play.collect()
    for seen, remembered in batch.seen:  # (S, E) each
        assert torch.equal(seen, remembered)
    assert {int(n) for seen, _ in batch.seen for n in seen.flatten()} == {0, 1, 2, 3, 4}
    for under in play.plays:
        kept, done = under.memory, torch.tensor(under.length).view(E, 1)
        assert torch.equal(kept.count, done.float()) and torch.equal(kept.pair[0], kept.count)
        assert torch.equal(kept.pair[1][:, 0, 0], (done[:, 0] > 0).float())


def test_an_agent_may_begin_to_remember_within_an_episode(domain):
    run, batch = Run(domain, 0, per_update=3), SeedBatch(silent=1)
    play = steps([run], batch)
    for _ in range(3):
        play.collect()
    assert batch.seen[0][0].tolist() == [[1.0] * E] and batch.seen[0][1].tolist() == [[0.0] * E]


# Several seeds -----------------------------------------------------------------------------------


def test_every_seed_plays_what_it_would_alone(domain):
    together = [Run(domain, seed) for seed in (0, 4, 7)]
    play = steps(together)
    for _ in range(10):
        play.collect()
    for run in together:
        alone = Run(domain, run.streams.seed)
        single = steps([alone])
        for _ in range(10):
            single.collect()
        assert len(run.agent.stored) == len(alone.agent.stored)
        for one, other in zip(run.agent.stored, alone.agent.stored, strict=True):
            assert torch.equal(one.obs, other.obs) and torch.equal(one.terminal, other.terminal)


# Going on ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [0, 1, 4, 7])
def test_what_was_under_way_goes_on_as_if_never_interrupted(rounds, domain):
    runs = [Run(domain, seed) for seed in (0, 1)]
    play = steps(runs)
    for _ in range(rounds):
        play.collect()
    saved = [run.unfinished.state_dict() for run in runs]
    streams = [run.streams.state_dict() for run in runs]
    again = [Run(domain, seed) for seed in (0, 1)]
    for run, state, draws in zip(again, saved, streams, strict=True):
        run.unfinished, run.agent.steps = copied(state), runs[0].agent.steps
        run.streams.load_state_dict(draws)
    for run in runs:
        run.agent.stored.clear()
    going = steps(again)
    for _ in range(9):
        play.collect()
        going.collect()
    for one, other in zip(runs, again, strict=True):
        assert len(one.agent.stored) == len(other.agent.stored) > 0
        for mine, theirs in zip(one.agent.stored, other.agent.stored, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                assert (a is None and b is None) or torch.equal(a, b)


def copied(state: dict) -> dict:
    """A state as a checkpoint gives it back: no memory shared, named tuples as plain ones."""

    def one(value):
        if isinstance(value, Tensor):
            return value.clone()
        if isinstance(value, dict):
            return {key: one(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return (list if isinstance(value, list) else tuple)(one(item) for item in value)
        return value

    state = one(state)
    if state["memory"] is not None:
        state["memory"] = Memory(*state["memory"])  # this batch asks for its parts by name
    return state


def test_what_is_under_way_can_be_left_and_taken_up_in_the_middle(domain):
    env, draws = domain.make(0), torch.Generator().manual_seed(3)
    under = Unfinished(env, E, draws)
    action = torch.eye(2)[torch.zeros(E, dtype=torch.long)]
    under.step(action, draws)
    state = copied(under.state_dict())
    kept = Unfinished.loaded(domain.make(0), E, state, Path("there"))
    assert torch.equal(kept.obs, under.obs) and kept.length == under.length
    assert torch.equal(kept.kept["reward"], under.kept["reward"])
    under.step(action, torch.Generator().manual_seed(0))
    assert not torch.equal(kept.kept["reward"], under.kept["reward"]), "nothing is shared"
