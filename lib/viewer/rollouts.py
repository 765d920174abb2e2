"""An episode of a run's agent, and what its world model expected of it: real beside imagined.

    viewer.rollout("outputs/drago-grid-quick-s0", task="room-1", after="room-2")

The model is told the actions but not what comes of them. After as many decisions as a plan or a
dream has, it starts from the truth again.

Letters: T decisions, L numbers in an observation, A numbers in an action, Q numbers in a pose.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.algos.dreamer import audit
from lib.algos.dreamer.parts import TASK
from lib.algos.dreamer.rssm import State
from lib.analysis import open_loop
from lib.core.config import RunConfig
from lib.core.errors import UserError
from lib.core.seeding import generator
from lib.envs import worlds
from lib.envs.api import Domain, Scene
from lib.replay.buffer import Episodes
from lib.runner import checkpoint, warm_start
from lib.runner.evaluate import play
from lib.viewer.base import in_words
from lib.viewer.film import LONGEST, Scrubber

CPU = torch.device("cpu")
SIDE = 192  # [pixels] of a picture, about what the screen shows of it
WRONG = {"cells": "share of cells foretold wrongly", "pixels": "mean squared error of the colours"}
SQUARED = "mean squared error of the observation"


class Imagined(NamedTuple):
    """What an agent makes of an episode."""

    poses: np.ndarray | None  # (T+1, Q) that it expected, the first one real
    pictures: np.ndarray | None  # (T+1, height, width, 3) where it foretells these themselves
    value: np.ndarray  # (T,) what its critic expects from every decision on
    error: np.ndarray  # (T+1,) of what it expected
    wrong: str  # what that error is
    ghost: bool = False  # drawn over the real one: a body is missed best where both are seen


class Player(NamedTuple):
    """An agent from a run folder, with the world model of a moment of that run."""

    agent: Any
    cfg: RunConfig
    domain: Domain
    task: int  # which it plays
    after: str  # when its world model was kept
    every: int  # decisions that are imagined before the truth is looked at again
    foretold: Callable[..., Imagined]  # of an episode: `_planned` or `_dreamt`


def player(folder: str | Path, task: str = "", after: str = "", every: int = 0) -> Player:
    """The agent that learnt a task, with the world model of another moment.

    See `rollout`.

    Raises:
        UserError: no checkpoint of such a task, or one that is damaged or of another layout.
    """
    folder = str(folder)
    path = warm_start.checkpoint_of(folder, task or after)
    meta = checkpoint.load_meta(path)
    cfg = warm_start.written_by(meta, path)
    domain = worlds.build(cfg.env, cfg.tasks, CPU)
    names, learnt = [one.name for one in domain.tasks], str(meta.get("finished") or "")
    if task and task != learnt:  # a file was given, not a folder
        raise UserError(
            f"'{path}' learnt '{learnt or 'no whole task'}', not '{task}'; give its run's folder"
        )
    reached = min(int((meta.get("position") or [len(names)])[0]), len(names) - 1)  # an early save
    if every < 0:
        raise UserError(f"every {every}: give a number of decisions, or 0 for the agent's own")
    index = names.index(learnt) if learnt in names else reached
    if cfg.family == "tdmpc":
        agent, known = warm_start.trained_agent(path, CPU), _planned
        horizon = agent.horizon
    else:
        agent, known = warm_start.trained_agent(path, CPU, domain), _dreamt
        horizon = cfg.behaviour.horizon
    if after and after != learnt:
        other = warm_start.checkpoint_of(folder, after)
        state, _ = warm_start.load(agent, other, with_heads=False)
        warm_start.transfer_of(agent).load_world_model(state["world_model"])
    moment = f"after {after or learnt}" if after or learnt else "before its first task was finished"
    return Player(agent, cfg, domain, index, moment, every or horizon, known)


# What was expected --------------------------------------------------------------------------


def _planned(who: Player, obs: Tensor, action: Tensor, poses: np.ndarray, seed: int) -> Imagined:
    """TD-MPC: a latent is an observation. obs (T+1, L), action (T, A)."""
    heads, predict = who.agent.learner.heads, who.agent.capabilities().predict
    pieces = list(open_loop.restarted(predict, obs, action, who.every))
    seen = torch.cat([obs[:1], *(piece[1:] for piece in pieces)])
    ghosts = [
        who.domain.pose_of(piece, poses[start * who.every])[1:]
        for start, piece in enumerate(pieces)
    ]
    value = heads.twin(heads.q, obs[:-1], action).amin(0)
    error = (seen - obs).square().mean(-1)
    expected = np.concatenate([poses[:1], *ghosts])
    return Imagined(expected, None, value.numpy(), error.numpy(), SQUARED, ghost=True)


def _dreamt(who: Player, obs: Tensor, action: Tensor, poses: np.ndarray, seed: int) -> Imagined:
    """A Dreamer: its latent goes on from what it saw; obs (T+1, *shape), action (T, A)."""
    model, critic = who.agent.module("model"), who.agent.module(TASK[1])
    draws, kind = generator(seed, "imagined"), who.domain.obs_space.kind
    states, _, _ = audit.observe(model, obs.unsqueeze(1), action.unsqueeze(1), draws)
    views, errors = [], [torch.zeros(1)]
    for start in range(0, len(action), who.every):
        led = action[start : start + who.every].unsqueeze(1)
        begin = State(*(part[start] for part in states))
        features = audit.open_loop(model, begin, led, draws)  # (k, 1, F)
        real = obs[start + 1 : start + 1 + len(led)].unsqueeze(1)
        errors.append(model.objective.error(features, real)[:, 0])
        views.append(model.objective.predict(features)[:, 0])
    seen = torch.cat(views)
    value, error = critic(model.rssm.features(states))[:-1, 0].numpy(), torch.cat(errors).numpy()
    wrong = WRONG.get(who.agent.parts.modules["model"].objective.error_name, SQUARED)
    if kind == "image":
        colours = (255 * seen).round().to(torch.uint8)
        first = model.encoder.picture(obs[:1])
        return Imagined(None, torch.cat([first, colours]).numpy(), value, error, wrong)
    expected = who.domain.pose_of(torch.cat([obs[:1], seen.to(obs)]), poses[0])
    return Imagined(expected, None, value, error, wrong)


# Pictures -----------------------------------------------------------------------------------


def _films(who: Player, poses: np.ndarray, found: Imagined) -> dict[str, np.ndarray]:
    """Real beside imagined, as the world can be drawn here."""
    scene = who.domain.scene(who.task)
    try:
        films = {"real": _drawn(scene, poses, None)}
        if found.pictures is not None:
            return films | {"imagined": found.pictures}
        if found.ghost:
            return films | {"imagined (blue)": _drawn(scene, poses, found.poses)}
        return films | {"imagined": _drawn(scene, found.poses, None)}
    finally:
        scene.close()


def _drawn(scene: Scene, poses: np.ndarray, ghosts: np.ndarray | None) -> np.ndarray:
    """(T+1, height, width, 3) uint8, no larger than a screen shows."""
    ghosts = [None] * len(poses) if ghosts is None else ghosts
    return np.stack(
        [_smaller(scene.frame(pose, ghost)) for pose, ghost in zip(poses, ghosts, strict=True)]
    )


def _smaller(frame: np.ndarray) -> np.ndarray:
    """The mean of as many pixels as fit SIDE, so that a long film takes little memory."""
    times = min(frame.shape[:2]) // SIDE
    if times < 2:
        return frame
    height, width = (side // times * times for side in frame.shape[:2])
    parts = frame[:height, :width].reshape(height // times, times, width // times, times, 3)
    return parts.mean((1, 3)).round().astype(np.uint8)


# The view -----------------------------------------------------------------------------------


@torch.no_grad()
def of_player(who: Player, seed: int = 0) -> Scrubber:
    """One evaluation episode, scrubbed. Where nothing can be drawn the series stand alone.

    Args:
        seed: of the episode.
    """
    draws, poses = generator(seed, "rollout"), []
    world, name = who.domain.make(who.task), who.domain.tasks[who.task].name
    options = {"explore": False, "act_generator": draws, "poses": poses}
    episode = play(who.agent, world, 1, draws, **options)
    steps = episode.reward.shape[1] if episode.length is None else int(episode.length[0])
    steps = min(steps, LONGEST - 1)
    episode = Episodes(
        obs=episode.obs[:, : steps + 1],
        action=episode.action[:, :steps],
        reward=episode.reward[:, :steps],
    )
    poses = np.stack(poses[: steps + 1])
    found = who.foretold(who, episode.obs[0], episode.action[0], poses, seed)
    try:
        films = _films(who, poses, found)
    except UserError as error:
        print(f"No pictures, only the numbers: {error}")
        films = {}
    ahead = [0, *(1 + t % who.every for t in range(steps))]
    return Scrubber(
        films,
        {
            "reward of the decision": np.append(episode.reward[0].numpy(), np.nan),
            "value: the return expected from here on": np.append(found.value, np.nan),
            f"model error: {found.wrong}": found.error,
        },
        [f"imagined {k} ahead" if k else "the start" for k in ahead],
        title=f"{name}, with the world model as it was {who.after}",
        xlabel="decision",
    )


@in_words
def rollout(
    folder: str | Path, task: str = "", after: str = "", seed: int = 0, every: int = 0
) -> Scrubber:
    """An episode of a run's agent to step through, real beside imagined.

    Args:
        folder: of a run that has written a checkpoint.
        task: which to play; left out, the last one that was finished (or `after`'s own). Reward,
            value and policy networks are those kept when it had been learnt.
        after: take the world model as it was when this task had been learnt; left out, `task`.
        seed: of the episode.
        every: decisions that are imagined before the truth is looked at again; 0 for those of a
            plan, or of a Dreamer's imagination.

    A folder that holds no such agent is said in one line.
    """
    return of_player(player(folder, task, after, every), seed)
