"""A family in one file that learns from files alone: behaviour cloning of a known expert.

Two tasks whose observations and actions differ: *pick* shows 2 numbers and takes one of 3 actions,
*reach* shows 5 numbers and takes 2 numbers. The expert is linear, so a linear policy can become it.
"""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.algos import registry
from lib.algos.api import Capabilities, Family
from lib.core import config
from lib.core.config import BudgetConfig, EnvConfig, RunConfig, at_least
from lib.core.errors import NonFiniteError
from lib.core.seeding import Streams, generator
from lib.core.spaces import ActionSpace, ObsSpace
from lib.engine.running_means import RunningMeans
from lib.replay.buffer import Episodes
from lib.runner import dataset, evaluate

SPACES = {
    "pick": (ObsSpace("vector", (2,)), ActionSpace(3, discrete=True)),
    "reach": (ObsSpace("vector", (5,)), ActionSpace(2, discrete=False)),
}
STEPS = 7  # decisions in an episode


# The world --------------------------------------------------------------------------------------


def expert(task: str, obs: Tensor) -> Tensor:
    """What the files show: (..., L) to (..., A)."""
    space, actions = SPACES[task]
    weight = torch.linspace(-1, 1, space.shape[0] * actions.size).sin()
    wanted = obs @ weight.view(space.shape[0], actions.size)
    if actions.discrete:
        return F.one_hot(wanted.argmax(-1), actions.size).float()
    return wanted.clamp(-1, 1)


class Showing:
    """Shows random numbers and pays for what the expert would have done: 1, or less."""

    broken = ended = None
    episode_length = STEPS

    def __init__(self, task: str):
        self.task, (self.obs_space, self.actions) = task, SPACES[task]
        self.obs_dim = self.obs_space.shape[0]

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        self.shown = torch.rand(n, STEPS + 1, self.obs_dim, generator=generator) * 2 - 1
        self.at = 0
        return self.shown[:, 0]

    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        wrong = (action - expert(self.task, self.shown[:, self.at])).abs().amax(-1)
        self.at += 1
        return self.shown[:, self.at], 1 - wrong


class World:
    """Both tasks: a `Domain` whose tasks have spaces of their own."""

    episode_length, action_repeat, grid_size, exact_optimum = STEPS, 1, None, True

    def __init__(self, names: tuple[str, ...] = tuple(SPACES)):
        self.tasks = tuple(SimpleNamespace(name=name, after="") for name in names)

    def task_spaces(self, task_index: int) -> tuple[ObsSpace, ActionSpace]:
        return SPACES[self.tasks[task_index].name]

    def make(self, task_index: int) -> Showing:
        return Showing(self.tasks[task_index].name)

    def optimum(self, task_index: int) -> float:
        return float(STEPS)

    def new_held_out(self) -> dict[str, Tensor]:
        return {}

    def record(self, *_: Any) -> None: ...

    def hold_out(self, held_out: dict, task_index: int, obs, action, *_: Any) -> None:
        held_out[f"obs-{task_index}"], held_out[f"action-{task_index}"] = obs, action


def experience(folder: Path, task: str, episodes: int = 40, seed: int = 0) -> Path:
    """Writes what the expert did in a task."""
    with torch.no_grad():
        agent = SimpleNamespace(act=lambda obs, memory, **_: (expert(task, obs), None))
        env, draws = Showing(task), generator(seed, task)
        played = evaluate.play(agent, env, episodes, draws, explore=False)
    return dataset.write(folder, task, played)


# The family -------------------------------------------------------------------------------------


ALONE = EnvConfig(domain="custom", episode_length=STEPS)
BRIEF = BudgetConfig(
    updates_per_task=60, eval_every=20, eval_episodes=3, checkpoint_every=15, report_every=25
)


@dataclass(frozen=True)
class ClonerRun(RunConfig):
    """Settings of a run."""

    family: str = "cloning"
    preset: str = "cloning-tiny"
    method_name: str = "cloning"
    device: str = "cpu"
    tasks: tuple[Any, ...] = tuple(SPACES)
    env: EnvConfig = ALONE
    budget: BudgetConfig = BRIEF
    rate: float = at_least(0, 0.5)
    batch: int = at_least(1, 16)

    width, carries = 8, False


class Cloner:
    """One linear policy per task, fitted to what the files show."""

    collects, roles, pending = "dataset", ("learner",), 0

    def __init__(self, cfg: ClonerRun, world: World, streams: Streams, device: Any):
        self.cfg, self.world, self.streams, self.device = cfg, world, streams, device
        self.means = RunningMeans()
        self.task, self.steps, self.updates, self.weight = -1, 0, 0, torch.zeros(0)

    def begin_task(self, index: int) -> None:
        space, self.actions = self.world.task_spaces(index)
        self.task, self.updates = index, 0
        shape = (space.shape[0], self.actions.size)
        self.weight = torch.randn(shape, generator=self.streams.init).to(self.device) / 10

    def act(self, obs, memory, *, role="learner", explore=True, generator=None, heads=None):
        wanted = obs @ (self.weight if heads is None else heads["weight"])
        if wanted.shape[-1] == 3:
            return F.one_hot(wanted.argmax(-1), 3).float(), None
        return wanted.clamp(-1, 1), None

    def store(self, role: str, episodes: Episodes) -> None:
        self.obs, self.action = episodes.obs[:, :-1].flatten(0, 1), episodes.action.flatten(0, 1)

    def update(self, n: int) -> None:
        for _ in range(n):
            rows = torch.randint(len(self.obs), (self.cfg.batch,), generator=self.streams.replay)
            weight = self.weight.detach().requires_grad_()
            wanted = self.obs[rows] @ weight
            if self.actions.discrete:
                loss = F.cross_entropy(wanted, self.action[rows])
            else:
                loss = F.mse_loss(wanted, self.action[rows])
            loss.backward()
            self.weight = (weight - self.cfg.rate * weight.grad).detach()
            self.means.add("policy", {"loss": loss.detach()})
            self.updates += 1

    def check_finite(self) -> None:
        if not all(self.means.finite().values()):
            raise NonFiniteError("the loss is no number; lower the rate")

    def report(self) -> dict[str, float]:
        self.check_finite()
        named = {f"train/policy/{k.split('/')[1]}": v for k, v in self.means.means().items()}
        self.means.clear()
        return named

    def audit(self, domain, held_out, generator):
        return {}, {}

    def capabilities(self) -> Capabilities:
        return Capabilities(heads=self)

    def save(self) -> dict[str, Tensor]:
        return {"weight": self.weight.clone()}

    def load(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"weight": saved["weight"].to(self.device)}

    def state_dict(self, with_replay: bool = True) -> dict[str, Any]:
        state: dict[str, Any] = {"learner": {"weight": self.weight}}
        if with_replay:
            state |= {"task": self.task, "updates": self.updates, "means": self.means.state_dict()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.begin_task(state["task"])
        self.updates = state["updates"]
        self.weight.copy_(state["learner"]["weight"])
        self.means.load_state_dict(state["means"], self.device)


def cut(run: ClonerRun, index: int) -> ClonerRun:
    """The run from a task on."""
    return config.merge(run, {"tasks": run.tasks[index:]})


registry.FAMILIES["cloning"] = Family(
    config=ClonerRun,
    presets={"cloning-tiny": {}},
    methods={"cloning": {}},
    about={"cloning": "does what the files show"},
    method="cloning",
    check=lambda run, inherits: None,
    cut=cut,
    build=Cloner,
    for_acting=lambda run: run,
    mixed_spaces=True,
)
