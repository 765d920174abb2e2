"""Plays whole episodes, to learn from them or to measure how well they go.

Shapes: S seeds, E episodes in lock-step, T steps, L observation size, A action size.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.algos.api import Agent
from lib.engine.seed_batch import Batch, OneByOne
from lib.envs.api import VectorEnv
from lib.replay.buffer import Episodes


@torch.no_grad()
def play(
    agent: Agent,
    env: VectorEnv,
    episodes: int,
    generator: torch.Generator,
    *,
    role: str = "learner",
    explore: bool,
    act_generator: torch.Generator | None = None,
    heads: Any = None,
    poses: list[np.ndarray] | None = None,
) -> Episodes:
    """Plays E whole episodes of one agent as a batch; see `play_batch`.

    Args:
        generator: draws the starts.
        act_generator: draws the actions; None takes the agent's own.
        poses: takes the first episode's T+1 poses, to be drawn later.
    """
    (played,) = play_batch(
        OneByOne([agent]),
        [env],
        episodes,
        [generator],
        role=role,
        explore=explore,
        act_generators=None if act_generator is None else [act_generator],
        heads=None if heads is None else [heads],
        poses=None if poses is None else [poses],
    )
    return played


@torch.no_grad()
def play_batch(
    batch: Batch,
    envs: Sequence[VectorEnv],
    episodes: int,
    generators: Sequence[torch.Generator],
    *,
    role: str = "learner",
    explore: bool,
    act_generators: Sequence[torch.Generator] | None = None,
    heads: Sequence[Any] | None = None,
    poses: Sequence[list[np.ndarray]] | None = None,
) -> list[Episodes]:
    """Plays E whole episodes of each of S seeds.

    Nothing is read back to the host, but for poses, and by worlds whose episodes may end early:
    those live there, and play until the last episode has ended.

    Every seed has a world and generators of its own, and so meets what it would meet alone.

    Args:
        batch: S agents.
        envs: S copies of one task.
        generators: S, which draw the starts.
        act_generators: S, which draw the actions; None takes the agents' own.
        heads: S, to act with instead of the role's own.
        poses: S lists, each of which takes its first episode's T+1 poses, to be drawn later.

    Returns:
        S times E episodes.
    """
    first = [env.reset(episodes, draws) for env, draws in zip(envs, generators, strict=True)]
    obs, memory = torch.stack(first), None  # (S, E, L)
    _note_poses(poses, envs)
    seen, actions, rewards, alive = [obs], [], [], []
    may_end = envs[0].ended is not None
    reached = torch.zeros(obs.shape[:2], dtype=torch.bool)  # (S, E), on the host
    tell = getattr(batch, "observe_reward", None)
    for _ in range(envs[0].episode_length):
        if may_end:
            alive.append(~torch.stack([env.ended for env in envs]))  # (S, E)
            if not bool(alive[-1].any()):
                alive.pop()
                break
        action, memory = batch.act(
            obs, memory, role=role, explore=explore, generators=act_generators, heads=heads
        )
        action, memory = executed(envs, action, memory)
        steps = [env.step(mine) for env, mine in zip(envs, action, strict=True)]
        obs = torch.stack([after for after, _ in steps])
        if may_end:
            reached = reached | torch.stack([env.success for env in envs])
        seen.append(obs)
        actions.append(action)
        rewards.append(torch.stack([reward for _, reward in steps]))
        if tell:
            memory = tell(memory, rewards[-1])
        _note_poses(poses, envs)
    parts = [torch.stack(part, 2) for part in (seen, actions, rewards)]  # (S, E, T, ...)
    whole = [Episodes(*mine) for mine in zip(*parts, strict=True)]
    if not may_end:
        return whole
    return [
        episodes._replace(length=length, terminal=env.terminal, success=env.success, reached=hit)
        for episodes, length, env, hit in zip(
            whole, torch.stack(alive, 2).sum(2), envs, reached, strict=True
        )
    ]


def executed(envs: Sequence[VectorEnv], action: Tensor, memory: Any) -> tuple[Tensor, Any]:
    """Returns what worlds keep of actions (S, E, A), and memories that know it.

    A world whose environments have `executed` keeps something else than what was decided, see
    `lib.envs.padding`. An agent that remembers its last action alone does so as `action` of its
    memory.
    """
    if not any(hasattr(env, "executed") for env in envs):
        return action, memory
    kept = torch.stack([env.executed(mine) for env, mine in zip(envs, action, strict=True)])
    remembered = getattr(memory, "action", None)
    alone = remembered is not None and remembered.shape == kept.shape
    return kept, memory._replace(action=kept) if alone else memory


def _note_poses(poses: Sequence[list[np.ndarray]] | None, envs: Sequence[VectorEnv]) -> None:
    for taken, env in zip(poses or (), envs, strict=False):
        taken.append(env.pose()[0])


def unbroken(episodes: Episodes, env: VectorEnv) -> Episodes:
    """The episodes just played in `env` whose physics stayed finite."""
    broken = env.broken
    if broken is None or not bool(broken.any()):
        return episodes
    return Episodes(*(None if p is None else p[~broken.to(p.device)] for p in episodes))


def every(episodes: Episodes, first: int, step: int) -> Episodes:
    """Returns every `step`-th of some episodes, beginning with one."""
    return Episodes(*(None if part is None else part[first::step] for part in episodes))


def returns(episodes: Episodes) -> Tensor:
    """Undiscounted return of each episode, (E,) [task units]."""
    return episodes.reward.sum(1)


def results(episodes: Episodes) -> dict[str, float]:
    """What a set of evaluation episodes came to, by the last part of a metric's name."""
    total = returns(episodes).cpu()
    found = {"return": float(total.mean()), "return_std": float(total.std(correction=0))}
    if episodes.success is not None:
        found["success"] = float(episodes.success.float().mean())
    if episodes.reached is not None:
        found["success_any"] = float(episodes.reached.float().mean())
    if episodes.length is not None:
        found["length"] = float(episodes.length.float().mean())
    return found
