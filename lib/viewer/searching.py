"""An agent's searches in an episode: played anew, or by an agent from a run folder.

    viewer.plans("outputs/drago-grid-quick-s0", task="room-1")

Letters: T decisions, I iterations of a search, N candidates, h steps of the horizon, L numbers in
an observation, A numbers in an action.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.core.errors import UserError
from lib.core.seeding import generator
from lib.envs import worlds
from lib.envs.api import Domain, VectorEnv
from lib.plotting import maps
from lib.runner import checkpoint, warm_start
from lib.viewer.base import in_words
from lib.viewer.planner import Planning, Recorder, Search

MOST_STEPS = 100  # decisions watched; each one keeps all that was tried


class Watched(NamedTuple):
    """An episode, and what was tried before every decision of it."""

    obs: Tensor  # (T + 1, L)
    reward: Tensor  # (T,)
    searches: list[Search]  # T


@torch.no_grad()
def watch(agent: Any, world: VectorEnv, draws: torch.Generator, steps: int = MOST_STEPS) -> Watched:
    """Plays an episode as in an evaluation, or the first `steps` decisions of it.

    Args:
        agent: has `act(obs, memory, explore=, generator=, trace=)`.
        world: one task.
        draws: of the start and of the searches.
    """
    tried, memory, rewards = Recorder(), None, []
    seen = [world.reset(1, draws)]
    for _ in range(min(steps, world.episode_length)):
        options = {"explore": False, "generator": draws, "trace": tried}
        action, memory = agent.act(seen[-1], memory, **options)
        obs, reward = world.step(action)
        seen.append(obs)
        rewards.append(reward)
    return Watched(torch.cat(seen), torch.cat(rewards), tried.searches)


@torch.no_grad()
def planning_of(watched: Watched, agent: Any, domain: Domain, task: int = 0) -> Planning:
    """The searches of an episode, with what the agent believes every candidate leads to.

    On the grid these are places. A body has too many numbers for a picture: there it is the return
    that is expected, decision by decision, on top of what was earned so far.

    Args:
        agent: has `dynamics` and `learner.heads`, a TD-MPC agent.
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


def _imagined(agent: Any, obs: Tensor, search: Search) -> tuple[np.ndarray, np.ndarray]:
    """Latents (I, N, h + 1, L) of all candidates from one observation (L,); rewards (I, N, h)."""
    iterations, count, horizon, size = search.candidates.shape
    actions = torch.as_tensor(search.candidates).to(obs).view(-1, horizon, size).transpose(0, 1)
    latents = agent.dynamics.unroll(obs.expand(actions.shape[1], -1), actions)  # (h + 1, I N, L)
    reward = agent.learner.heads.reward(torch.cat((latents[:-1], actions), -1))  # (h, I N)
    shape = (iterations, count)
    return (
        latents.transpose(0, 1).unflatten(0, shape).cpu().numpy(),
        reward.transpose(0, 1).unflatten(0, shape).cpu().numpy(),
    )


@in_words
def plans(folder: str | Path, task: str = "", seed: int = 0, steps: int = MOST_STEPS) -> Planning:
    """The searches of a run's agent in an episode of a task that it learnt.

    Args:
        folder: of a run that has finished a task.
        task: its name; left out, the last one that was finished.
        seed: of the episode.
        steps: decisions watched, the first ones of the episode.

    A folder that holds no such agent is said in one line.
    """
    path = warm_start.checkpoint_of(str(folder), task)
    meta = checkpoint.load_meta(path)
    cfg = warm_start.written_by(meta, path)
    if cfg.family != "tdmpc":
        raise UserError(
            f"'{folder}' is a run of method '{cfg.method_name}', whose policy acts at once and "
            "searches nothing; take a run of TD-MPC or DRAGO"
        )
    actor = warm_start.FirstActor(path, cfg, torch.device("cpu"))
    domain = worlds.build(cfg.env, cfg.tasks)
    names = [one.name for one in domain.tasks]
    index = names.index(actor.name)
    draws = generator(seed, "env")
    return planning_of(
        watch(actor.agent, domain.make(index), draws, steps), actor.agent, domain, index
    )
