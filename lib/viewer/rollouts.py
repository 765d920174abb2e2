"""Shows an episode of a run's agent beside what its world model expected of it.

    viewer.rollout("outputs/drago-grid-quick-s0", task="room-1", after="room-2")

The model is told the actions but not what comes of them. After as many decisions as a plan or a
dream has, it starts from the truth again. A model that cannot draw what it imagines is shown by
the nearest stored pictures of its run, which the figure says.

Letters: T decisions, L numbers in an observation, A numbers in an action, Q numbers in a pose.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.algos.api import Agent, Imagination, Told
from lib.core.config import RunConfig
from lib.core.errors import UserError
from lib.core.seeding import generator
from lib.envs import worlds
from lib.envs.api import Domain, Scene
from lib.replay.buffer import Episodes
from lib.runner import checkpoint, records, warm_start
from lib.runner.evaluate import play
from lib.runner.run_folder import RunFolder
from lib.viewer.base import in_words
from lib.viewer.film import LONGEST, Scrubber

CPU = torch.device("cpu")
SIDE = 192  # [pixels] of a picture, about what the screen shows of it
WRONG = {
    # What the error of an imagined observation is, by its kind.
    "symbols": "share of cells predicted wrongly",
    "image": "mean squared error of the colours",
    "vector": "mean squared error of the observation",
}
NO_PICTURES = "This agent draws no pictures of what it expects; shown is what really happened."
NONE_STORED = (
    "This agent draws no pictures of what it imagines, and its run holds no episodes to take them "
    "from; shown are what really happened and the numbers it imagines."
)
DISAGREEMENT = "disagreement of an ensemble about what is imagined"
SURPRISE = "surprise: KL of what is seen from what was imagined, in nats"
REWARD_AHEAD = "imagined reward, as the world model predicts it"
VALUE_AHEAD = "imagined value, as the critic expects there"


class Imagined(NamedTuple):
    """Holds what an agent's world model makes of an episode."""

    numbers: dict[str, np.ndarray]  # (T+1,) of what it expected, by name
    name: str  # what its pictures are called
    poses: np.ndarray | None  # (T+1, Q) that it expected, the first one real
    pictures: np.ndarray | None  # (T+1, height, width, 3) where it expects these themselves
    ghost: bool  # drawn over the real one: a body is missed best where both are seen


class Player(NamedTuple):
    """Holds an agent from a run folder, with the world model of a moment of that run."""

    agent: Agent
    cfg: RunConfig
    domain: Domain
    task: int  # which it plays
    after: str  # when its world model was kept
    every: int  # decisions that are imagined before the truth is looked at again
    stored: Episodes | None = None  # of its run, for agents that show something by these
    arrays: Mapping[str, np.ndarray] = {}  # of its audit
    heads: Any = None  # that tell an agent of another moment which task it acts


def player(folder: str | Path, task: str = "", after: str = "", every: int = 0) -> Player:
    """Returns the agent that learnt a task, with the world model of another moment.

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
    reached = min(
        int((meta.get("position") or [len(names)])[0]), len(names) - 1
    )  # of an early save
    if every < 0:
        raise UserError(f"every {every}: give a number of decisions, or 0 for the agent's own")
    index = names.index(learnt) if learnt in names else reached
    agent, heads = warm_start.trained_agent(path, CPU, domain), None
    if after and after != learnt:
        other, can = warm_start.checkpoint_of(folder, after), agent.capabilities()
        if can.is_told:
            saved, agent = can.heads.save(), warm_start.trained_agent(other, CPU, domain)
            heads = agent.capabilities().heads.load(saved)
        else:
            state, _ = warm_start.load(agent, other, with_heads=False)
            warm_start.transfer_of(agent).load_world_model(state["world_model"])
    moment = f"after {after or learnt}" if after or learnt else "before its first task was finished"
    every = every or agent.capabilities().look_ahead or 1
    who = Player(agent, cfg, domain, index, moment, every, heads=heads)
    if agent.capabilities().remember is None:
        return who
    stored, arrays = warm_start.held_out_episodes(folder, domain), {}
    if (after or learnt) in names and Path(folder).is_dir():
        path = RunFolder(Path(folder)).audit(names.index(after or learnt))
        arrays = records.read_arrays(path) if path.is_file() else {}
    return who._replace(stored=stored, arrays=arrays)


# What was expected --------------------------------------------------------------------------


def _imagined(
    who: Player, obs: Tensor, action: Tensor, poses: np.ndarray, draws: torch.Generator
) -> Imagined | None:
    """Returns what is expected of obs (T+1, *shape) and action (T, A); None where it cannot be."""
    can = who.agent.capabilities()
    if can.imagine is None:
        return None
    remembered = can.remember(who.stored, who.arrays, draws) if can.remember else None
    space = getattr(who.domain, "obs_space", None)
    kind = space.kind if space else "vector"
    real = space.draw(obs) if kind == "image" and space.draw else obs
    seen, expected, pieces = [real[:1]], [poses[:1]], []
    for start in range(0, len(action), who.every):
        end = min(start + who.every, len(action))
        piece = can.imagine(obs[: end + 1], action[:end], start + 1, draws, remembered)
        pieces.append((start, piece))
        if piece.obs is None:
            continue
        segment = piece.obs[start:]
        seen.append(segment[1:])
        if kind != "image":
            expected.append(who.domain.pose_of(segment, poses[start])[1:])
    ahead = _ahead(pieces)
    if len(seen) == 1:
        return Imagined(ahead, "", None, None, ghost=False)
    views, origin = torch.cat(seen), pieces[0][1].origin
    measured = f"distance of the {origin.partition(',')[0]}" if origin else "model error"
    numbers = {f"{measured}: {WRONG[kind]}": _error(kind, views, real).numpy(), **ahead}
    name = f"imagined: {origin}" if origin else "imagined"
    if kind == "image":
        return Imagined(numbers, name, None, views.numpy(), ghost=False)
    ghost = space is None
    name = f"{name} (blue)" if ghost else name
    return Imagined(numbers, name, np.concatenate(expected), None, ghost)


def _ahead(pieces: list[tuple[int, Imagination]]) -> dict[str, np.ndarray]:
    """Returns the numbers of pieces imagined one after the other, those that they have.

    Args:
        pieces: the decision at which each begins, and what is imagined from there on.

    Returns:
        Names to (T+1,): the reward of every decision, NaN at the end, and what is told of every
        record, NaN at the first.
    """
    found: dict[str, list[Tensor]] = {}
    for start, piece in pieces:
        told = {SURPRISE: piece.surprise, DISAGREEMENT: piece.disagreement}
        told |= {REWARD_AHEAD: piece.reward, VALUE_AHEAD: piece.value}
        for name, row in told.items():
            if row is not None:
                found.setdefault(name, []).append(row[start + (name != REWARD_AHEAD) :])
    unknown = torch.full((1,), torch.nan)
    return {
        name: torch.cat([*parts, unknown] if name == REWARD_AHEAD else [unknown, *parts]).numpy()
        for name, parts in found.items()
    }


def _error(kind: str, views: Tensor, real: Tensor) -> Tensor:
    """Returns (T+1,) how wrong imagined observations (T+1, *shape) are."""
    if kind == "symbols":
        return (views != real).any(-1).flatten(1).float().mean(-1)
    off = (views.float() - real.float()) / (255 if kind == "image" else 1)
    return off.square().flatten(1).mean(-1)


# Pictures -----------------------------------------------------------------------------------


def _films(who: Player, poses: np.ndarray, found: Imagined | None) -> dict[str, np.ndarray]:
    """Draws real beside imagined, as the world can be drawn here."""
    scene = who.domain.scene(who.task)
    try:
        films = {"real": _drawn(scene, poses, None)}
        if found is None or not found.name:
            return films
        if found.pictures is not None:
            return films | {found.name: found.pictures}
        if found.ghost:
            return films | {found.name: _drawn(scene, poses, found.poses)}
        return films | {found.name: _drawn(scene, found.poses, None)}
    finally:
        scene.close()


def _drawn(scene: Scene, poses: np.ndarray, ghosts: np.ndarray | None) -> np.ndarray:
    """Draws (T+1, height, width, 3) uint8, no larger than a screen shows."""
    ghosts = [None] * len(poses) if ghosts is None else ghosts
    return np.stack(
        [_smaller(scene.frame(pose, ghost)) for pose, ghost in zip(poses, ghosts, strict=True)]
    )


def _smaller(frame: np.ndarray) -> np.ndarray:
    """Averages as many pixels as fit SIDE, so that a long film takes little memory."""
    times = min(frame.shape[:2]) // SIDE
    if times < 2:
        return frame
    height, width = (side // times * times for side in frame.shape[:2])
    parts = frame[:height, :width].reshape(height // times, times, width // times, times, 3)
    return parts.mean((1, 3)).round().astype(np.uint8)


# The view -----------------------------------------------------------------------------------


@torch.no_grad()
def of_player(who: Player, seed: int = 0) -> Scrubber:
    """Plays one evaluation episode to step through; where nothing is drawn the series stand alone.

    Args:
        seed: of the episode.
    """
    draws, poses = generator(seed, "rollout"), []
    world, name = who.domain.make(who.task), who.domain.tasks[who.task].name
    options = {"explore": False, "act_generator": draws, "poses": poses, "heads": who.heads}
    episode = play(who.agent, world, 1, draws, **options)
    steps = episode.reward.shape[1] if episode.length is None else int(episode.length[0])
    steps = min(steps, LONGEST - 1)
    episode = Episodes(
        obs=episode.obs[:, : steps + 1],
        action=episode.action[:, :steps],
        reward=episode.reward[:, :steps],
    )
    poses = np.stack(poses[: steps + 1])
    can, rng = who.agent.capabilities(), generator(seed, "imagined")
    found = _imagined(who, episode.obs[0], episode.action[0], poses, rng)
    series = {"reward of the decision": np.append(episode.reward[0].numpy(), np.nan)}
    if can.value:
        value = can.value(episode.obs[0], episode.action[0], rng).numpy()
        series["value: the return expected from here on"] = np.append(value, np.nan)
    told = _told(who, episode)
    series |= {name: np.append(row.float(), np.nan) for name, row in told.numbers.items()}
    if not told.words and (found is None or not found.name):
        print(NONE_STORED if found else NO_PICTURES)
    captions = [*told.words, "the end"] if told.words else []
    if found:
        series |= found.numbers
        ahead = [0, *(1 + t % who.every for t in range(steps))]
        captions = [f"imagined {k} ahead" if k else "the start" for k in ahead]
    try:
        films = _films(who, poses, found)
    except UserError as error:
        print(f"No pictures, only the numbers: {error}")
        films = {}
    part = "agent" if can.is_told else "world model"
    title = f"{name}, with the {part} as it was {who.after}"
    return Scrubber(films, series, captions, title=title, xlabel="decision")


def _told(who: Player, episode: Episodes) -> Told:
    """Returns what the agent says of its decisions; nothing where it cannot."""
    can = who.agent.capabilities()
    if can.decisions is None:
        return Told({}, ())
    return can.decisions(episode.obs[0], episode.action[0], episode.reward[0], who.heads)


@in_words
def rollout(
    folder: str | Path, task: str = "", after: str = "", seed: int = 0, every: int = 0
) -> Scrubber:
    """Shows an episode of a run's agent to step through, real beside imagined.

    Args:
        folder: of a run that has written a checkpoint.
        task: which to play; left out, the last one that was finished (or `after`'s own). Reward,
            value and policy networks are those kept when it had been learnt.
        after: take the world model as it was when this task had been learnt; left out, `task`.
            Of an agent that is told which task it acts, the whole agent.
        seed: of the episode.
        every: decisions that are imagined before the truth is looked at again; 0 for those of a
            plan, or of a Dreamer's imagination.

    A folder that holds no such agent is said in one line.
    """
    return of_player(player(folder, task, after, every), seed)
