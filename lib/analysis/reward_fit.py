"""How soon does a world model know what a new task pays? Reward fit without a policy.

Agents begin in different ways (from nothing, with parts of other runs), and get the same episodes,
played at random. Their world models alone learn from most of these, the same batches in the same
order; after some updates each is asked what the held-out ones paid.

Source: section 9 of the specification of multi-source transfer, a study of ours.

Letters: S seeds, M marks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lib.algos import registry
from lib.algos.api import Agent
from lib.core.errors import UserError
from lib.core.metrics import Array
from lib.core.seeding import Streams, generator
from lib.engine import machine
from lib.envs import worlds
from lib.envs.api import Domain
from lib.experiments import params, run_config
from lib.replay.buffer import Episodes
from lib.runner import beginning as start_run
from lib.runner.evaluate import play
from lib.runner.warm_start import Start

MARKS = (50, 100, 150, 200, 250, 300)  # updates
EPISODES, HELD_OUT = 20, 5
Begin = Callable[[int], tuple[Agent, Domain]]  # a seed to an agent before its task, and its world


def reward_fit(
    arms: Mapping[str, Begin],
    seeds: Sequence[int],
    marks: Sequence[int] = MARKS,
    episodes: int = EPISODES,
    held_out: int = HELD_OUT,
) -> dict[str, Array]:
    """Returns the held-out squared error of predicted rewards: every arm to (S, M).

    Args:
        arms: by name, how an agent begins. Its settings say what a batch is.
        marks: updates after which the error is measured, increasing.
        episodes: played at random and learnt from.
        held_out: played besides, to be asked about.

    Raises:
        UserError: an agent cannot learn its world model alone, or too few episodes.
    """
    if episodes < 1 or held_out < 1:
        raise UserError(
            f"{episodes} episodes to learn from and {held_out} to be asked about: take at least one"
        )
    found = {name: np.full((len(seeds), len(marks)), np.nan) for name in arms}
    for row, seed in enumerate(seeds):
        played: Episodes | None = None
        for name, begin in arms.items():
            agent, domain = begin(seed)
            if played is None:
                played = at_random(domain, episodes + held_out, seed)
            found[name][row] = errors(agent, domain, played, held_out, marks, seed)
    return found


def beginning(parameters: Mapping[str, Any]) -> Begin:
    """Returns how the agent of a run begins: with what its parameters say it takes of other runs.

    Args:
        parameters: of notebooks/20_run.py, but for the seed.
    """

    def begin(seed: int) -> tuple[Agent, Domain]:
        cfg = run_config.resolve({**parameters, "seed": seed})
        device = machine.choose_device(cfg.device)
        domain = worlds.build(cfg.env, cfg.tasks, device)
        agent = registry.build_agent(cfg, domain, Streams(seed, device), device)
        start = Start(*(parameters.get(key, "") for key in params.KEPT))
        start_run.begin(agent, start.of_seed(seed))
        return agent, domain

    return begin


def at_random(domain: Domain, episodes: int, seed: int) -> Episodes:
    """Returns whole episodes of a world's first task, with actions that are drawn evenly."""
    draws = generator(seed, "reward-fit/episodes")

    class Random:
        """Acts at random, as `play` asks of an agent."""

        def act(self, obs: torch.Tensor, memory: None, **_: object) -> tuple[torch.Tensor, None]:
            return domain.actions.random(len(obs), draws, obs.device), None

    return play(Random(), domain.make(0), episodes, draws, explore=True)


def errors(
    agent: Agent,
    domain: Domain,
    played: Episodes,
    held_out: int,
    marks: Sequence[int],
    seed: int,
) -> list[float]:
    """Returns the held-out error of one agent after so many updates: (M,).

    Args:
        played: episodes, of which the last ones are held out.
    """
    fit = agent.capabilities().fit
    if fit is None:
        raise UserError(
            f"agents of method '{agent.cfg.method_name}' learn no world model alone; take a Dreamer"
        )
    known, asked = (
        Episodes(*(None if part is None else part[where] for part in played))
        for where in (slice(None, -held_out), slice(-held_out, None))
    )
    agent.store("learner", known)
    kept = {  # as `lib.envs.held_out` has it, of one task
        name: getattr(asked, name).unsqueeze(0) for name in ("obs", "action", "reward", "length")
    }
    agent.begin_task(1)  # a probe asks about tasks that are over
    told, made = [], 0
    for mark in marks:
        fit(mark - made)
        made = mark
        metrics = agent.capabilities().probe(domain, kept, generator(seed, "reward-fit/asked"))
        told.append(metrics[f"probe/{domain.tasks[0].name}/reward_mse"])
    return told
