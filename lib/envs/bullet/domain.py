"""A stream of PyBullet's bodies: what the runner asks of a `Domain`."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.api import World
from lib.envs.bullet import tasks
from lib.envs.bullet.env import BulletEnv, Plan, Pool
from lib.envs.bullet.simulation import check_installed
from lib.envs.bullet.tasks import BulletTask, Entry
from lib.envs.gym.batch import Recipe
from lib.envs.gym.custom import judge
from lib.envs.gym.domain import GymDomain
from lib.envs.lengths import decisions

if TYPE_CHECKING:
    from lib.core.config import EnvConfig


def resolve(env: "EnvConfig", entries: Iterable[Entry]) -> tuple[BulletTask, ...]:
    """Task records in the order given; raises UserError as `tasks.resolve` and `decisions` do."""
    decisions(env.episode_length, env.action_repeat)
    return tasks.resolve(entries, env.ignore_termination)


def build(
    env: "EnvConfig", entries: Iterable[Entry], device: torch.device | str = "cpu"
) -> GymDomain:
    """The bodies that a configuration describes.

    Raises:
        UserError: what `resolve` says, or PyBullet cannot be used here.
    """
    stream = resolve(env, entries)
    check_installed()
    pool = Pool()
    return GymDomain(
        stream,
        tuple(_recipe(task, env, pool) for task in stream),
        decisions(env.episode_length, env.action_repeat),
        device,
        action_repeat=env.action_repeat,
    )


def _recipe(task: BulletTask, env: "EnvConfig", pool: Pool) -> Recipe:
    side = env.image_size if env.observation == "pixels" else 0
    plan = Plan(task, env.action_repeat, side, env.look_at, env.ignore_termination)
    image = ObsSpace("image", (side, side, 3), torch.uint8)
    return Recipe(
        name=task.name,
        make=partial(BulletEnv, plan, pool),
        obs_space=image if side else ObsSpace("vector", (task.numbers,)),
        actions=ActionSpace(task.actions, discrete=False),
        read=_stored,
        act=_stored,
        begin=lambda made, seed: made.reset(seed=seed),
        judge=judge,
    )


def _stored(seen: np.ndarray) -> np.ndarray:
    """Observations and actions are stored as they are."""
    return seen


WORLD = World(
    resolve=resolve,
    build=build,
    observations=("pixels", "state"),
    ends_early=True,
    repeats=True,
    sized=True,
    pads=True,
    least_numbers=tasks.NUMBERS,
)
