"""Who plays the files of experience of each world: experts that know the task, and chance.

An expert's actions are shaken by noise and cut to what an action may be; what was executed is what
is kept. Episodes start where training does, never where evaluation does.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.core.errors import UserError
from lib.envs import worlds
from lib.replay.buffer import Episodes
from lib.runner import evaluate

ALL = 10**9  # episodes of a piece that is the whole file


@dataclass(frozen=True)
class Recipe:
    """How the files of a world are made.

    Args:
        episodes: of every task; 0: as many as its maker makes.
        noises: deviations of what is added to an expert's actions, in equal parts.
        random_share: share of episodes that act at random, besides.
        hold: whether experts that would leave what they have done stand still instead.
        agent: run folder or checkpoint of an agent that acts instead of the experts; "" for none.
    """

    episodes: int = 0
    noises: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5)
    random_share: float = 0.05
    hold: bool = True
    agent: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Maker:
    """A world whose files can be made.

    Args:
        tasks: names; each has a file.
        play: a task, an expert's noise (None acts at random), how many episodes, a random generator
            and the recipe to what was done.
        episodes: of a task where nobody says how many.
        piece: episodes that are made at once, and are not made again where a process is stopped.
        slow: takes minutes, so that all cores work unless told otherwise.
        source: who acts, for the card.
        first: tasks that are made where nobody names any; () for all.
        about: what else the card says.
        check: raises UserError where tasks cannot be played here, or by nobody.
        agents: whether trained agents may act.
        succeeds: whether episodes have a goal that they may reach.
    """

    tasks: tuple[str, ...]
    play: Callable[[str, float | None, int, torch.Generator, Recipe], Episodes]
    episodes: int = 600
    piece: int = ALL
    slow: bool = False
    source: str = "controller"
    first: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Sequence[str], Recipe], None] = lambda tasks, recipe: None
    agents: bool = False
    succeeds: bool = True


def point_mass() -> Maker:
    """Returns a point pushed across a table by a controller that knows its task."""
    from lib.envs.point_mass import expert, tasks
    from lib.envs.point_mass.domain import PointDomain

    names = tuple(name for name, task in tasks.KNOWN.items() if not task.files)
    length = 30  # decisions of an episode, as in the presets

    def play(
        name: str, noise: float | None, count: int, draws: torch.Generator, recipe: Recipe
    ) -> Episodes:
        task = tasks.KNOWN[name]
        env = PointDomain((task,), length).make(0)
        expert_of = lambda obs: expert.act(task, obs)  # noqa: E731 (a closure over the task)
        return _shaken(env, expert_of, noise, count, draws)

    return Maker(names, play)


def metaworld() -> Maker:
    """Returns Meta-World's robot arm, moved by the benchmark's scripted experts."""
    from lib.envs.metaworld.domain import ArmDomain
    from lib.envs.metaworld.expert import Expert
    from lib.envs.metaworld.simulation import NEEDED, check_installed
    from lib.envs.metaworld.tasks import NAMES, resolve

    length, reward = 200, "v2"  # of an episode, as in the papers; of the benchmark

    @lru_cache(maxsize=2)
    def world(name: str) -> ArmDomain:
        return ArmDomain(resolve([name]), reward, length)

    def play(
        name: str, noise: float | None, count: int, draws: torch.Generator, recipe: Recipe
    ) -> Episodes:
        env, expert = world(name).make(0), Expert(name, recipe.hold)
        last, solved = torch.zeros(count, env.actions.size), torch.zeros(count, dtype=torch.bool)

        def act(obs: Tensor, memory: Any, **_: Any) -> tuple[Tensor, None]:
            solved.logical_or_(env.success)
            if noise is None:
                return env.actions.random(len(obs), draws), None
            action = torch.from_numpy(expert.act(obs.numpy(), last.numpy(), solved.numpy()))
            still = (solved & recipe.hold).unsqueeze(1)  # who holds still is not shaken
            shake = noise * torch.randn(action.shape, generator=draws)
            last.copy_(torch.where(still, action, (action + shake).clamp(-1, 1)))
            return last.clone(), None

        return evaluate.play(SimpleNamespace(act=act), env, count, draws, explore=True)

    return Maker(
        NAMES,
        play,
        episodes=250,
        piece=50,
        slow=True,
        source="scripted expert",
        about={"metaworld": NEEDED, "reward": reward, "episode_length": str(length)},
        check=lambda tasks, recipe: check_installed(),
    )


def dmc_states() -> Maker:
    """Returns the bodies of dm_control's suite, moved by controllers or by agents of runs."""
    from lib.envs.dmc_states.domain import StatesDomain
    from lib.envs.dmc_states.experts import CONTROLLERS
    from lib.envs.pixels.suite_env import check_installed
    from lib.envs.pixels.tasks import TASKS

    length = 1000  # of an episode, an env step a decision, as in the papers

    @lru_cache(maxsize=2)
    def world(name: str) -> StatesDomain:
        return StatesDomain((TASKS[name],), length, 1)

    def play(
        name: str, noise: float | None, count: int, draws: torch.Generator, recipe: Recipe
    ) -> Episodes:
        env = world(name).make(0)
        if recipe.agent:
            return _shaken(env, _Agent(recipe.agent, env), noise, count, draws)

        def expert(obs: Tensor) -> Tensor:
            found = [CONTROLLERS[name](body.physics) for body in env.bodies]
            return torch.tensor(np.stack(found), dtype=torch.float32).clamp(-1, 1)

        return _shaken(env, expert, noise, count, draws)

    def check(tasks: Sequence[str], recipe: Recipe) -> None:
        check_installed()
        if recipe.agent or recipe.random_share == 1:
            return
        for name in tasks:
            if name not in CONTROLLERS:
                raise UserError(
                    f"task '{name}' has no controller here (there are {', '.join(CONTROLLERS)}); "
                    "let an agent act (--agent RUN), or chance alone (--random)"
                )

    return Maker(
        tuple(TASKS),
        play,
        episodes=20,
        piece=20,
        slow=True,
        about={"episode_length": str(length)},
        check=check,
        first=tuple(CONTROLLERS),
        agents=True,
        succeeds=False,
    )


class _Agent:
    """Acts as a trained agent would, each of its decisions for as many steps as in its own run.

    Args:
        source: run folder or checkpoint.
        env: where it acts, of which it may know nothing but how many numbers there are.

    Raises:
        UserError: no such run, or an agent that sees or does other numbers.
    """

    def __init__(self, source: str, env: Any):
        from lib.runner import checkpoint, warm_start

        path, device = warm_start.checkpoint_of(source), torch.device("cpu")
        cfg = warm_start.written_by(checkpoint.load_meta(path), path)
        domain = worlds.build(cfg.env, cfg.tasks, device)
        self.agent = warm_start.trained_agent(path, device, domain)
        self.repeat = domain.action_repeat
        mine = (env.obs_dim, env.actions.size)
        if (theirs := (domain.obs_dim, domain.actions.size)) != mine:
            raise UserError(
                f"the agent of '{path}' sees {theirs[0]} numbers and does {theirs[1]}, and task "
                f"'{env.name}' shows {mine[0]} and takes {mine[1]}; name a run of the same body"
            )
        self.memory, self.action, self.steps = None, torch.zeros(0), 0

    def __call__(self, obs: Tensor) -> Tensor:
        """Returns actions (n, A) for observations (n, L)."""
        if self.steps % self.repeat == 0:
            self.action, self.memory = self.agent.act(obs, self.memory, explore=False)
        self.steps += 1
        return self.action


def _shaken(
    env: Any,
    expert: Callable[[Tensor], Tensor],
    noise: float | None,
    count: int,
    draws: torch.Generator,
) -> Episodes:
    """Plays episodes of an expert whose actions are shaken; of none where noise is None."""

    def act(obs: Tensor, memory: Any, **_: Any) -> tuple[Tensor, None]:
        if noise is None:
            return env.actions.random(len(obs), draws), None
        action = expert(obs)
        shaken = action + noise * torch.randn(action.shape, generator=draws)
        return shaken.clamp(-1, 1), None

    return evaluate.play(SimpleNamespace(act=act), env, count, draws, explore=True)


def cores() -> int:
    """Counts the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


MAKERS: dict[str, Callable[[], Maker]] = {
    "point-mass": point_mass,
    "metaworld": metaworld,
    "dmc-states": dmc_states,
}
