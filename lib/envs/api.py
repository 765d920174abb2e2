"""What a learner may ask of an environment: shapes, actions, and steps of many copies at once.

Letters: n copies, L numbers in an observation, A numbers in an action, S states.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from lib.core.spaces import ActionSpace, ObsSpace

if TYPE_CHECKING:
    from lib.core.config import EnvConfig

Predict = Callable[[Tensor, Tensor], Tensor]
"""A world model: observation (n, L) and action (n, A) to the next observation (n, L)."""

Sample = Callable[[int], Tensor]
"""A generator of experience: n to (n, L + A), observation and action side by side."""

Outcomes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A world model and a task's reward, open loop: observations (n, L) and actions (n, h, A) to
observations (n, h+1, L), the first ones given, and rewards (n, h)."""

Intrinsic = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A reviewer's reward: observation, action, next observation to (n,)."""


class VectorEnv(Protocol):
    """One task, n copies in lock-step, every tensor on one device; `step` reads nothing back."""

    obs_dim: int  # L
    actions: ActionSpace
    episode_length: int  # decisions in every episode; the caller counts them
    broken: Tensor | None  # (n,) bool, copies whose physics broke in this episode; None: cannot
    ended: Tensor | None  # (n,) bool on the host, episodes that are over; None: never early

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Start n episodes; returns (n, L) float32."""
        ...

    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """(n, A) actions to the next observation (n, L) and the reward (n,)."""
        ...

    def pose(self) -> np.ndarray:
        """(n, .) on the host: what a picture of each copy needs."""
        ...


class EndingEnv(VectorEnv, Protocol):
    """A vector environment whose episodes may end early, each copy at its own time.

    A copy that has ended ignores its action, repeats its observation and earns 0 until it is
    started again. Observations are (n, *shape) in the stored dtype.

    One that keeps something else of actions than was decided also has `executed`, see
    `lib.envs.padding`; one of several tasks has `played`, see `lib.envs.turns`.
    """

    obs_space: ObsSpace
    ended: Tensor  # (n,) bool on the host: the episode is over
    terminal: Tensor  # (n,) bool on the host: over because the task ended, not because time did
    success: Tensor  # (n,) bool on the host: the episode reached what the task asks for
    cell: Tensor | None  # (n,) long on the host: where each agent is; None without cells

    def restart(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Start new episodes of the copies that are true in `chosen` (n,); returns (n, *shape)."""
        ...

    def step(self, action: Tensor, only: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As of any world; copies that are false in `only` (n,) wait."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """The episodes in progress: seeds, and actions since."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there. Raises UserError if the environment does not repeat itself."""
        ...

    def close(self) -> None:
        """Gives the environments back."""
        ...


def spaces(domain: "Domain", task_index: int) -> tuple[ObsSpace, ActionSpace]:
    """Returns what one task shows and takes.

    A world whose tasks differ has `task_spaces(task_index)`; in all others they share them.
    """
    if hasattr(domain, "task_spaces"):
        return domain.task_spaces(task_index)
    shared = getattr(domain, "obs_space", None)
    return shared or ObsSpace("vector", (domain.obs_dim,)), domain.actions


class DataPart(NamedTuple):
    """A file of experience, by its name, and what it holds."""

    name: str
    obs_space: ObsSpace
    actions: ActionSpace


def data_parts(domain: "Domain", task_index: int) -> tuple[DataPart, ...]:
    """Returns the files that a task is learnt from, where it is learnt from files.

    It is one of the task's own name, unless its world has `data_parts(task_index)`, which may mix
    files of different spaces.
    """
    if hasattr(domain, "data_parts"):
        return domain.data_parts(task_index)
    return (DataPart(domain.tasks[task_index].name, *spaces(domain, task_index)),)


def evaluation_env(domain: "Domain", task_index: int) -> VectorEnv:
    """Returns where a task is evaluated.

    A world that shows evaluation what training never sees, as backgrounds of its own, has
    `make_for_evaluation(task_index)`; all others evaluate where they train.
    """
    make = getattr(domain, "make_for_evaluation", domain.make)
    return make(task_index)


class Scene(Protocol):
    """Draws the poses of one task."""

    def frame(self, pose: np.ndarray, ghost: np.ndarray | None = None) -> np.ndarray:
        """(height, width, 3) uint8; `ghost` is a second pose, drawn translucent."""
        ...

    def close(self) -> None:
        """Gives the renderer back."""
        ...


class Domain(Protocol):
    """The world that a sequence of tasks shares: same states, actions and dynamics.

    A world whose episodes may end early also has `obs_space: ObsSpace`, makes an `EndingEnv`,
    keeps what it holds out as a dictionary of tensors, and takes `reward` and `length` in
    `hold_out`.
    """

    obs_dim: int
    actions: ActionSpace
    episode_length: int  # decisions
    action_repeat: int  # env steps that one decision lasts
    grid_size: int | None  # cells a side where the world is a grid, for exact counts
    exact_optimum: bool  # whether `optimum` is reachable, or just what no episode can exceed
    tasks: tuple  # records with .name and .after, the task whose agent acts first ("" for none)

    def make(self, task_index: int) -> VectorEnv:
        """The vector environment of one task."""
        ...

    def optimum(self, task_index: int) -> float | None:
        """The mean undiscounted return that counts as 100 %; None if unknown."""
        ...

    def scene(self, task_index: int) -> Scene:
        """Draws a task. Raises UserError where nothing can be drawn on this machine."""
        ...

    def pose_of(self, obs: Tensor, first: np.ndarray) -> np.ndarray:
        """Poses (T+1, .) that look like observations (T+1, L), the first one as given."""
        ...

    def new_held_out(self) -> Tensor:
        """An empty record of the transitions that audits ask about, task by task."""
        ...

    def record(self, held_out: Tensor, task_index: int, obs: Tensor, action: Tensor) -> None:
        """Mark what obs (E, T, L) and action (E, T, A) met, in place, reading nothing back."""
        ...

    def hold_out(
        self,
        held_out: Tensor,
        task_index: int,
        obs: Tensor,
        action: Tensor,
        reward: Tensor | None = None,
        length: Tensor | None = None,
    ) -> None:
        """Keep evaluation episodes, obs (E, T+1, L) and action (E, T, A), that nobody trains on."""
        ...

    def audit(
        self,
        held_out: Tensor,
        predict: Predict,
        sample: Sample | None = None,
        intrinsic: Intrinsic | None = None,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Examine a world model over everything it could meet: flat metrics, and arrays."""
        ...


class TabularDomain(Domain, Protocol):
    """A domain whose states can be listed, so that whole plans can be audited exactly."""

    def audit_plans(
        self,
        task_index: int,
        outcomes: Outcomes,
        horizon: int,
        discount: float,
        generator: torch.Generator,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """What is expected of action sequences from every state: flat metrics, and arrays."""
        ...


@dataclass(frozen=True)
class World:
    """A world by name: a row of `lib.envs.worlds`, and what a learner may ask before it is built.

    Args:
        resolve: settings and task entries to task records; raises UserError as `worlds.resolve`.
        build: settings, task entries and device to the domain; raises UserError as `worlds.build`.
        observations: what `env.observation` may say.
        ends_early: episodes end when they end, and steps are `EndingEnv`'s; False: all last
            `episode_length`.
        bounded: observations lie in [-1, 1).
        has_cells: the agent is in one of countably many cells.
        tabular: every transition can be listed, so that audits and optima are exact.
        repeats: a decision may last several env steps.
        sized: pictures have `env.image_size` pixels a side.
        pads: tasks may differ in how many numbers they take or show, see `lib.envs.padding`.
        least_numbers: vectors that are observed have so many numbers at least.
        handed_over: environments are objects of the caller's, which no configuration can make.
        made_by: the command that makes files of experience in it; "" where none does.
    """

    resolve: Callable[["EnvConfig", Iterable[Any]], tuple[Any, ...]]
    build: Callable[["EnvConfig", Iterable[Any], torch.device | str], Domain]
    observations: tuple[str, ...] = ("state",)
    ends_early: bool = False
    bounded: bool = False
    has_cells: bool = False
    tabular: bool = False
    repeats: bool = False
    sized: bool = False
    pads: bool = False
    least_numbers: int = 0
    handed_over: bool = False
    made_by: str = ""
