"""Trains a Dreamer on any gymnasium environment, from a notebook or a script.

    from lib.experiments import custom_env
    trained = custom_env.train("CartPole-v1", "debug")
    trained.play()

Observations and actions are read from the environment's spaces, see
`lib.envs.gym.reading.describe`. Several environments are a stream of tasks.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lib.algos import registry
from lib.algos.api import Agent
from lib.core import config as configs
from lib.core.config import RunConfig
from lib.core.errors import UserError, unknown
from lib.core.seeding import Streams, generator
from lib.engine import machine
from lib.envs.gym.custom import custom_domain
from lib.envs.gym.domain import GymDomain
from lib.experiments import run_config
from lib.replay.buffer import Episodes
from lib.runner import checkpoint, training, warm_start
from lib.runner.evaluate import play
from lib.runner.run_folder import RunFolder

# Settings that the environment decides, or an argument of `train`.
ELSEWHERE = ("name", "seed", "device", "tasks", "family", "method_name", "env.domain")
ELSEWHERE += ("env.observation", "env.episode_length")


@dataclass(frozen=True)
class Trained:
    """What `train` returns: the run's folder, and the agent as it was at the end."""

    folder: Path
    agent: Agent
    domain: GymDomain

    def play(self, episodes: int = 1, task: int = 0, seed: int = 0) -> Episodes:
        """Evaluation episodes of the trained agent.

        Args:
            episodes: E.
            task: which environment, counted from 0.
            seed: of beginnings and chance.
        """
        draws = generator(seed, "own/play", self.domain.device)
        env = self.domain.make(task)
        return play(self.agent, env, episodes, draws, explore=False, act_generator=draws)


def configure(
    domain: GymDomain,
    config: str | Mapping[str, Any] | RunConfig = "debug",
    *,
    method: str = "",
    seed: int = 0,
    device: str = "auto",
) -> RunConfig:
    """A complete configuration for environments that were handed over.

    Args:
        domain: from `custom_domain`.
        config: a Dreamer's preset; or settings by their dotted names, `preset` among them if it is
            not "debug"; or a whole configuration, of which the world is replaced.

    Raises:
        UserError: an unknown preset or setting, or numbers that do not fit each other.
    """
    given = {"preset": config} if isinstance(config, str) else config
    if isinstance(given, RunConfig):
        run = given
    elif isinstance(given, Mapping):
        settings = {key: value for key, value in given.items() if key != "preset"}
        preset = str(given.get("preset", "debug"))
        dreams = registry.family("dreamer").presets
        if preset not in dreams:
            raise unknown("preset", preset, dreams, "for environments that are handed over")
        if said := [key for key in configs.flat(settings) if key in ELSEWHERE]:
            raise UserError(
                f"config: {said[0]!r} is not set there; seed, device, method, observation and "
                "episode_length are arguments, and all else comes from the environment"
            )
        run = configs.set_dotted(
            _without_minigrids_settings(run_config.plain(preset, method)), settings
        )
    else:
        raise UserError(
            f"config {config!r} of type {type(config).__name__}: give a preset such as 'debug', "
            "settings such as {'update.model_lr': 1e-4}, or a configuration"
        )
    steps = domain.episode_length
    world = {"domain": "custom", "observation": "state", "episode_length": steps}
    changes = {
        "name": "custom",
        "seed": seed,
        "device": device,
        "tasks": [task.name for task in domain.tasks],
        "env": world,
    }
    if run.replay.capacity < steps:
        changes["replay"] = {"capacity": 10 * steps}
    run = configs.merge(run, changes)
    run_config.check(run)
    return run


def _without_minigrids_settings(run: RunConfig) -> RunConfig:
    """A preset without what it says of Minigrid's tasks alone.

    Rewards may have any size, there is no bonus for cells that other worlds do not have, and tasks
    are equally long.
    """
    bonus = "none" if run.explore.bonus == "visits" else run.explore.bonus
    changes = {
        "objective": {"reward": "identity", "reward_scale": 1.0},
        "explore": {"bonus": bonus},
        "budget": {"lengths": [1]},
    }
    return configs.merge(run, changes)


def train(
    env: Any,
    config: str | Mapping[str, Any] | RunConfig = "debug",
    out_dir: str | Path = "",
    *,
    method: str = "",
    seed: int = 0,
    device: str = "auto",
    observation: str = "state",
    episode_length: int | None = None,
    progress: bool = True,
) -> Trained:
    """Trains a Dreamer on any gymnasium environment, or on several in turn.

    The same call again goes on where the last one was stopped, or shows what is finished.

    Args:
        env: an id that gymnasium knows, an environment, a function without arguments that makes
            one, or a list of these.
        config: see `configure`; "debug" takes seconds and shows that everything fits together.
        out_dir: the run's folder; a temporary one if not given.
        method: a Dreamer's method; its own if not given.
        observation: "state" takes what the environment shows, "pixels" and "symbols" ask for those.
        episode_length: decisions after which an episode is cut; the environment's own if not given.

    Raises:
        UserError: spaces that nothing here can read, an unknown id or setting, a folder that holds
            another run.
    """
    where = machine.choose_device(device)
    domain = custom_domain(env, episode_length, observation, where)
    run = configure(domain, config, method=method, seed=seed, device=device)
    folder = Path(out_dir or tempfile.mkdtemp(prefix="custom-"))
    training.train(run, folder, tensorboard=False, progress=progress, domain=domain)
    return Trained(folder, agent_of(run, folder, domain, where), domain)


def agent_of(
    run: RunConfig, folder: Path, domain: GymDomain, device: torch.device, after: int = 0
) -> Agent:
    """The agent of a finished run as it was when a task ended.

    Args:
        after: number of that task, counted from 1; 0 is the last.

    Raises:
        UserError: its checkpoint is gone.
    """
    agent = registry.build_agent(run, domain, Streams(run.seed, device), device)
    agent.begin_task((after or len(run.tasks)) - 1)
    path = RunFolder(folder).task_checkpoint(agent.task)
    state, _ = checkpoint.load(path)
    transfer = warm_start.transfer_of(agent)
    transfer.load_world_model(state["world_model"])
    transfer.load_heads(state)
    return agent
