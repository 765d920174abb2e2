"""A whole Dreamer small enough for tests: every size is a different prime where it can be."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lib.algos.dreamer.agent import DreamerAgent
from lib.algos.dreamer.run_settings import DreamerRun
from lib.core import config
from lib.core.seeding import Streams
from lib.core.spaces import ActionSpace, ObsSpace
from lib.engine.seed_batch import SeedBatch
from lib.experiments import run_config
from lib.replay.buffer import Episodes

SETTINGS: dict[str, Any] = {
    "env.episode_length": 11,
    "budget.env_steps_per_task": 88,
    "budget.parallel_envs": 2,
    "budget.eval_every": 44,
    "budget.eval_episodes": 2,
    "budget.report_every": 20,
    "budget.checkpoint_every": 10,
    "latent.variables": 2,
    "latent.classes": 3,
    "latent.deter": 5,
    "latent.hidden": 7,
    "network.depth": 2,
    "network.code_width": 13,
    "network.code_layers": 1,
    "network.head_width": 17,
    "network.head_layers": 1,
    "representation.prototypes.count": 7,
    "representation.prototypes.size": 3,
    "representation.prototypes.freeze": 2,
    "representation.contrast.warm_up": 1,
    "behaviour.horizon": 3,
    "behaviour.starts": 8,
    "behaviour.slow_every": 3,
    "explore.members": 2,
    "explore.visits": 1.0,
    "update.batch": 3,
    "update.length": 5,
    "update.env_steps_per_update": 4,
    "update.burst": 1,
    "update.prefill": 24,
    "update.pretrain": 2,
    "replay.capacity": 66,
    "replay.min_length": 2,
    "replay.slack": 2,
}
TASKS = ["empty-5x5", "doorkey-5x5"]
SYMBOLS = ObsSpace("symbols", (2, 2, 3), torch.uint8, (11, 6, 3))
VECTOR = ObsSpace("vector", (7,))
PICKS = ActionSpace(3, discrete=True)
BOX = ActionSpace(2, discrete=False)


def tiny(method: str = "dreamer", **changes: Any) -> DreamerRun:
    """A run of two tasks in a second; double underscores in names stand for dots."""
    overrides = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    tasks = overrides.pop("tasks", TASKS)
    seed = overrides.pop("seed", 0)
    given = {"preset": "debug", "method": method, "tasks": tasks, "seed": seed}
    return run_config.resolve(given | {"device": "cpu", "overrides": overrides})


def new_agent(
    cfg: DreamerRun, space: ObsSpace = SYMBOLS, actions: ActionSpace = PICKS
) -> DreamerAgent:
    """An agent without a world around it, in its first task."""
    agent = DreamerAgent(cfg, space, actions, Streams(cfg.seed, torch.device("cpu")), "cpu")
    agent.begin_task(0)
    return agent


def observations(space: ObsSpace, *lead: int, draws: torch.Generator) -> Tensor:
    """(*lead, *shape) random ones, as stored."""
    if space.kind == "vector":
        return torch.randn(*lead, *space.shape, generator=draws)
    high = min(space.classes) if space.classes else 256
    shape = (*lead, *space.shape)
    return torch.randint(0, high, shape, generator=draws, dtype=torch.uint8)


def invented(
    agent: DreamerAgent,
    lengths: Sequence[int] = (11, 7, 3, 11),
    seed: int = 0,
) -> Episodes:
    """Episodes of noise that fit an agent; the shorter ones end by themselves."""
    draws = torch.Generator().manual_seed(seed)
    count, steps = len(lengths), agent.cfg.env.episode_length
    length = torch.tensor(lengths)
    action = agent.actions.random(count * steps, draws).view(count, steps, -1)
    alive = torch.arange(steps) < length.unsqueeze(1)
    return Episodes(
        observations(agent.obs_space, count, steps + 1, draws=draws),
        action * alive.unsqueeze(-1),
        torch.rand(count, steps, generator=draws) * alive,
        length,
        length < steps,
        torch.zeros(count, dtype=torch.bool),
        torch.randint(0, 9, (count, steps + 1), generator=draws),
    )


def ready(cfg: DreamerRun, **kwargs: Any) -> DreamerAgent:
    """An agent whose prefill is over, its replay filled with noise and ready to update."""
    agent = new_agent(cfg, **kwargs)
    agent.seed_batch.act(observations(agent.obs_space, 1, 2, draws=torch.Generator()))
    agent.store("learner", invented(agent))
    agent.count_steps(cfg.update.prefill)
    agent.running_means.clear()
    return agent


def batch_of(cfg: DreamerRun, seeds: Sequence[int], **kwargs: Any) -> SeedBatch:
    """Agents that differ by their seed alone, each with experience of its own."""
    agents = [new_agent(of_seed(cfg, seed), **kwargs) for seed in seeds]
    for agent in agents:
        agent.store("learner", invented(agent, seed=agent.cfg.seed))
        agent.count_steps(cfg.update.prefill)
    return SeedBatch(agents)


def of_seed(cfg: DreamerRun, seed: int) -> DreamerRun:
    """The same run with another seed."""
    return config.merge(cfg, {"seed": seed})


def snapshot(agent: DreamerAgent) -> dict[str, Any]:
    """A copy of everything that an agent is."""
    return copy.deepcopy(agent.state_dict())
