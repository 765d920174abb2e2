"""A whole learner small enough for tests: every size is a different prime where it can be."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lib.algos.tdmpc.agent import ContinualAgent
from lib.algos.tdmpc.settings import TdmpcRun
from lib.core import config
from lib.core.seeding import Streams
from lib.core.spaces import ActionSpace
from lib.experiments import run_config
from lib.replay.buffer import Episodes

SETTINGS: dict[str, Any] = {
    "env.size": 9,
    "env.episode_length": 7,
    "budget.env_steps_per_task": 84,
    "budget.parallel_envs": 2,
    "budget.eval_every": 28,
    "budget.eval_episodes": 3,
    "budget.checkpoint_every": 28,
    "model.width": 13,
    "planner.horizon": [3],
    "planner.samples": 19,
    "planner.elites": 5,
    "planner.iterations": 2,
    "planner.mixture": 0.11,
    "planner.horizon_ramp": 28,
    "planner.likeliest": True,  # as published
    "learning.batch": 11,
    "learning.ema_every": 2,
    "learning.seed_steps": 14,
    "learning.average": 1.0,  # the published rule; see tests/algos/tdmpc/test_averages.py
    "protections.rehearsal.pairs": 11,
    "protections.stored_replay.pairs": 11,
    "vae.code": 5,
    "vae.width": 17,
}

IN_ENV_STEPS = ("env_steps_per_task", "eval_every", "checkpoint_every")


def tiny(method: str = "drago", **changes: Any) -> TdmpcRun:
    """A run of two tasks in seconds; double underscores in names stand for dots."""
    overrides = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    tasks = overrides.pop("tasks", ["room-1", "room-2"])
    seed = overrides.pop("seed", 0)
    return run_config.resolve(
        {"method": method, "tasks": tasks, "seed": seed, "device": "cpu", "overrides": overrides}
    )


def control(method: str = "drago", domain: str = "cheetah", **changes: Any) -> TdmpcRun:
    """A run on the cheetah or the walker: episodes of 7 decisions, 4 env steps each."""
    overrides = {key: value for key, value in SETTINGS.items() if not key.startswith("env.")}
    overrides |= {f"budget.{key}": 4 * SETTINGS[f"budget.{key}"] for key in IN_ENV_STEPS}
    overrides |= {"env.episode_length": 28, "env.action_repeat": 4}
    overrides |= {key.replace("__", "."): value for key, value in changes.items()}
    tasks = overrides.pop("tasks", [f"{domain}-run", f"{domain}-run-backwards"])
    given = {"preset": f"{domain}-quick", "method": method, "tasks": tasks, "device": "cpu"}
    return run_config.resolve(given | {"overrides": overrides, "seed": overrides.pop("seed", 0)})


def continuous(method: str = "drago", **changes: Any) -> TdmpcRun:
    """The same for actions in a box and unbounded observations."""
    settings = {"model__crelu": False, "model__bounded": False, "reviewer__count_bonus": "bounded"}
    return tiny(method, **settings | changes)


BOX = ActionSpace(2, discrete=False)
PICKS = ActionSpace(3, discrete=True)


def new_agent(
    cfg: TdmpcRun, actions: ActionSpace = PICKS, obs_dim: int = 3, device: str = "cpu"
) -> ContinualAgent:
    """An agent without a world around it."""
    streams, on = Streams(cfg.seed, device), torch.device(device)
    size = cfg.env.size if actions.discrete else None
    return ContinualAgent(cfg, obs_dim, actions, cfg.env.episode_length, streams, on, size)


def invented(agent: ContinualAgent, count: int = 5, seed: int = 0) -> Episodes:
    """Episodes of noise that fit an agent."""
    draws = torch.Generator().manual_seed(seed)
    length = agent.episode_length
    obs = torch.rand(count, length + 1, agent.obs_dim, generator=draws) * 2 - 1
    action = agent.actions.random(count * length, draws).view(count, length, -1)
    reward = torch.rand(count, length, generator=draws)
    return Episodes(*(part.to(agent.device) for part in (obs, action, reward)))


def in_task(cfg: TdmpcRun, task: int = 0, **kwargs: Any) -> ContinualAgent:
    """An agent at work in a task, its replay filled with noise and ready to update."""
    agent = new_agent(cfg, **kwargs)
    for index in range(task + 1):
        agent.begin_task(index)
        for role in agent.roles:
            agent.store(role, invented(agent, seed=index))
        if index < task:
            agent.update(2)
    agent.running_means.clear()
    return agent


def next_round(agent: ContinualAgent) -> ContinualAgent:
    """The agent at the beginning of its next round of episodes, which all roles act from."""
    agent.round_steps, agent.round_updates = agent.steps, 0
    return agent


def flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a nested state under its path."""
    if isinstance(state, Mapping):
        items = list(state.items())
    elif isinstance(state, list | tuple):
        items = list(enumerate(state))
    else:
        return {prefix: state}
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}/{key}").items()}


def same(one: Any, other: Any) -> list[str]:
    """Paths at which two nested states differ by as much as one bit."""
    left, right = flat(one), flat(other)
    differ = set(left) ^ set(right)
    for path in set(left) & set(right):
        a, b = left[path], right[path]
        if isinstance(a, Tensor):
            equal = (
                a.dtype == b.dtype
                and a.shape == b.shape
                and a.numpy().tobytes() == b.numpy().tobytes()
            )
        else:
            equal = a == b
        if not equal:
            differ.add(path)
    return sorted(differ)


def kept_heads(agent: ContinualAgent) -> Any:
    """A copy of the learner's heads, as they are kept when a task ends."""
    heads = agent.capabilities().heads
    return heads.load(heads.save())


def moved(module: torch.nn.Module, before: Mapping[str, Tensor]) -> bool:
    """Whether any parameter differs from a copy taken earlier."""
    return any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


def copied(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of a module's parameters, to compare with later."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(cfg: TdmpcRun, **changes: Any) -> TdmpcRun:
    """A configuration with dotted settings replaced, unchecked."""
    return config.set_dotted(cfg, {key.replace("__", "."): v for key, v in changes.items()})
