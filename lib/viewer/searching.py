"""Shows an agent's searches in an episode: played anew, or by an agent from a run folder.

    viewer.plans("outputs/drago-grid-quick-s0", task="room-1")

Letters: T decisions, I iterations of a search, N candidates, h steps of the horizon, L numbers in
an observation, A numbers in an action.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.algos import api
from lib.algos.api import Agent
from lib.core.errors import UserError
from lib.core.seeding import generator
from lib.envs import worlds
from lib.envs.api import Domain, VectorEnv
from lib.plotting import maps
from lib.runner import warm_start
from lib.viewer.base import in_words
from lib.viewer.planner import Planning, Recorder, Search

MOST_STEPS = 100  # decisions watched; each one keeps all that was tried


class Watched(NamedTuple):
    """Holds an episode, and what was tried before every decision of it."""

    obs: Tensor  # (T + 1, L)
    reward: Tensor  # (T,)
    searches: list[Search]  # T


@torch.no_grad()
def watch(
    agent: Agent, world: VectorEnv, draws: torch.Generator, steps: int = MOST_STEPS
) -> Watched:
    """Plays an episode as in an evaluation, or the first `steps` decisions of it.

    Args:
        agent: has the capability `search`.
        world: one task.
        draws: of the start and of the searches.

    Raises:
        UserError: an agent that acts without a search.
    """
    search = _search_of(agent)
    tried, memory, rewards = Recorder(), None, []
    seen = [world.reset(1, draws)]
    for _ in range(min(steps, world.episode_length)):
        action, memory = search.act(seen[-1], memory, generator=draws, trace=tried)
        obs, reward = world.step(action)
        seen.append(obs)
        rewards.append(reward)
    return Watched(torch.cat(seen), torch.cat(rewards), tried.searches)


@torch.no_grad()
def planning_of(watched: Watched, agent: Agent, domain: Domain, task: int = 0) -> Planning:
    """Returns the searches of an episode, with what the agent expects of every candidate.

    On the grid these are cells. A body has too many numbers for a picture: there it is the return
    that is expected, decision by decision, on top of what was earned so far.

    Args:
        agent: has the capability `search`.
    """
    name = domain.tasks[task].name
    if domain.grid_size:
        paths = [
            maps.positions(_imagined(agent, obs, search)[0], domain.grid_size)
            for obs, search in zip(watched.obs, watched.searches, strict=False)
        ]
        walked = maps.positions(watched.obs, domain.grid_size)
        cells, marks = domain.table.cells.numpy(), {"G": domain.tasks[task].goal}
        title = f"What was tried in {name}"
        return Planning(watched.searches, paths, walked, cells=cells, marks=marks, title=title)
    earned = np.concatenate([[0.0], watched.reward.cumsum(0).numpy()])  # (T + 1,)
    paths = []
    for t, (obs, search) in enumerate(zip(watched.obs, watched.searches, strict=False)):
        expected = _imagined(agent, obs, search)[1].cumsum(-1)  # (I, N, h)
        expected = np.concatenate([np.zeros_like(expected[..., :1]), expected], -1) + earned[t]
        ahead = np.broadcast_to(t + np.arange(expected.shape[-1]), expected.shape)
        paths.append(np.stack([ahead, expected], -1))
    walked = np.stack([np.arange(len(earned)), earned], -1)
    labels = ("decision", "return so far, and expected")
    return Planning(watched.searches, paths, walked, labels=labels, title=f"{name}: what was tried")


def _search_of(agent: Agent) -> api.Search:
    if found := agent.capabilities().search:
        return found
    raise UserError(
        f"an agent of method '{agent.cfg.method_name}' acts at once and searches nothing; take a "
        "run of a method that plans, such as tdmpc or drago"
    )


def _imagined(agent: Agent, obs: Tensor, search: Search) -> tuple[np.ndarray, np.ndarray]:
    """Returns observations (I, N, h + 1, L) and rewards (I, N, h) of all candidates from (L,)."""
    candidates = torch.as_tensor(search.candidates).to(obs)  # (I, N, h, A)
    found = _search_of(agent).outcomes(obs, candidates.flatten(0, 1))
    return tuple(part.unflatten(0, candidates.shape[:2]).cpu().numpy() for part in found)


@in_words
def plans(folder: str | Path, task: str = "", seed: int = 0, steps: int = MOST_STEPS) -> Planning:
    """Shows the searches of a run's agent in an episode of a task that it learnt.

    Args:
        folder: of a run that has finished a task.
        task: its name; left out, the last one that was finished.
        seed: of the episode.
        steps: decisions watched, the first ones of the episode.

    A folder that holds no such agent is said in one line.
    """
    path = warm_start.checkpoint_of(str(folder), task)
    agent = warm_start.trained_agent(path, torch.device("cpu"))
    domain = worlds.build(agent.cfg.env, agent.cfg.tasks)
    draws, index = generator(seed, "env"), agent.task
    return planning_of(watch(agent, domain.make(index), draws, steps), agent, domain, index)
