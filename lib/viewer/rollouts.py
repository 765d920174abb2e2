"""An episode of a finished run's agent, step by step: what happens beside what it imagined.

    viewer.rollout("outputs/drago-grid-quick-s0", task="room-1")

Letters: T decisions, L numbers in an observation, A numbers in an action.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

from lib import imagine
from lib.envs import worlds
from lib.envs.api import Domain
from lib.envs.grid import ACTION_NAMES
from lib.errors import UserError
from lib.runner import checkpoint, sources
from lib.seeding import generator
from lib.viewer.base import in_words
from lib.viewer.film import LONGEST, Scrubber

PICTURE = (160, 160)  # pixels of a body's or a grid's picture
BAR = (10, 160)  # pixels of one number where no picture can be drawn


@torch.no_grad()
def play(actor: Any, domain: Domain, task: int, draws: torch.Generator) -> dict[str, Any]:
    """An episode as in an evaluation, with everything that is known of it.

    Returns:
        obs (T + 1, L), action (T, A), reward (T,) and value (T,), what the critics expect from
        each observation on; and T + 1 poses.
    """
    world, agent = domain.make(task), actor.agent
    obs, memory = world.reset(1, draws), None
    seen, poses, rows = [obs], [world.pose()[0]], []
    heads = agent.learner.heads
    for _ in range(world.episode_length):
        action, memory = actor.act(obs, memory, draws)
        value = heads.twin(heads.q, obs, action).amin(0)
        obs, reward = world.step(action)
        seen.append(obs)
        poses.append(world.pose()[0])
        rows.append((action, reward, value))
    action, reward, value = (torch.cat(part) for part in zip(*rows, strict=True))
    return {
        "obs": torch.cat(seen),
        "action": action,
        "reward": reward,
        "value": value,
        "poses": np.stack(poses),
    }


@torch.no_grad()
def imagined(agent: Any, obs: Tensor, action: Tensor, every: int) -> Tensor:
    """(T + 1, L): what the world model makes of the actions, told what is real every so often."""
    pieces = imagine.restarted(agent.dynamics, obs, action, every)
    return torch.cat([obs[:1], *(piece[1:] for piece in pieces)])


@in_words
def rollout(folder: str | Path, task: str = "", seed: int = 0) -> Scrubber:
    """A film of a run's agent: real beside imagined, and reward, value and model error below.

    The imagined film is the world model's own: it is told the actions that were really taken, and
    what is real only once in every planning horizon.

    Args:
        folder: of a run that has finished a task.
        task: its name; left out, the last one that was finished.
        seed: of the episode.

    A folder that holds no such agent is said in one line. Where nothing can draw a body the numbers
    of its observations are shown as colours.
    """
    path = sources.checkpoint_of(str(folder), task)
    meta = checkpoint.load_meta(path)
    cfg = sources.written_by(meta, path)
    if cfg.family != "tdmpc":
        raise UserError(
            f"'{folder}' is a run of method '{cfg.method_name}', whose latents are no "
            "observations; take a run of TD-MPC or DRAGO (chapter 03 scrubs the daydreams of such "
            "an agent)"
        )
    actor = sources.FirstActor(path, cfg, torch.device("cpu"))
    domain = worlds.build(cfg.env, cfg.tasks)
    index = [one.name for one in domain.tasks].index(actor.name)
    episode = play(actor, domain, index, generator(seed, "env"))
    every = actor.agent.horizon
    ghost = imagined(actor.agent, episode["obs"], episode["action"], every)
    error = (ghost - episode["obs"]).square().mean(1)  # (T + 1,)
    films = _pictures(domain, index, episode, ghost, every)
    stride = -(-len(error) // LONGEST)  # a film of more pictures would take long to go through
    nothing = np.array([np.nan])
    series = {
        "reward": np.concatenate([nothing, episode["reward"].numpy()]),
        "value expected": np.concatenate([episode["value"].numpy(), nothing]),
        "model error [observation units²]": error.numpy(),
    }
    pressed = [""]
    if domain.actions.discrete:
        pressed += [ACTION_NAMES[i] for i in episode["action"].argmax(-1).tolist()]
    else:
        pressed += [""] * len(episode["action"])
    return Scrubber(
        {name: film[::stride] for name, film in films.items()},
        {name: row[::stride] for name, row in series.items()},
        pressed[::stride],
        title=f"{actor.name}, imagined {every} decisions ahead at a time",
        xlabel="decision" if stride == 1 else f"picture, one in {stride} decisions",
    )


def _pictures(
    domain: Domain, task: int, episode: dict[str, Any], ghost: Tensor, every: int
) -> dict[str, np.ndarray]:
    """Both films; of observations as colours where nothing can draw."""
    poses = episode["poses"]
    try:
        scene = domain.scene(task)
    except UserError as error:
        print(f"No pictures of the body, so its observations are shown as colours: {error}")
        scale = max(float(episode["obs"].abs().max()), 1e-6)
        both = {"real": episode["obs"], "imagined": ghost}
        return {name: _bars(rows.numpy() / scale) for name, rows in both.items()}
    believed = [poses[0]]
    for start in range(0, len(poses) - 1, every):
        piece = torch.cat((episode["obs"][start : start + 1], ghost[start + 1 : start + every + 1]))
        believed.extend(domain.pose_of(piece, poses[start])[1:])
    try:
        pairs = list(zip(poses, believed, strict=True))
        return {
            "real": np.stack([_small(scene.frame(pose)) for pose, _ in pairs]),
            "imagined, in blue": np.stack([_small(scene.frame(*pair)) for pair in pairs]),
        }
    finally:
        scene.close()


def _small(frame: np.ndarray) -> np.ndarray:
    """A picture with every n-th pixel, about as large as PICTURE."""
    step = max(1, min(frame.shape[0] // PICTURE[0], frame.shape[1] // PICTURE[1]))
    return frame[::step, ::step]


def _bars(rows: np.ndarray) -> np.ndarray:
    """(T, L) numbers in [-1, 1] as pictures: a stripe for each."""
    colours = (255 * colormaps["PuOr"]((rows + 1) / 2)[..., :3]).astype(np.uint8)  # (T, L, 3)
    stripes = colours.repeat(BAR[0], 1)[:, :, None]
    return np.broadcast_to(stripes, (*stripes.shape[:2], BAR[1], 3)).copy()
