"""A family of algorithms offers an agent, its optional capabilities, and tables of presets.

The runner and the viewers know an agent by what is written here, and by nothing else. What only
some families can do is a capability, a value or None, so that code asks "can it?" and never "which
family is it?".

Letters: E episodes, T steps, L numbers in an observation (or *shape), A numbers in an action.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from lib.core.config import RunConfig, Sections
from lib.envs.api import Domain
from lib.replay.buffer import Episodes

Collects = Literal["episodes", "steps", "dataset"]
"""How experience reaches an agent: whole episodes, steps of episodes that go on, or from files.

Of "dataset" a checkpoint leaves the experience out: `store` is called with the same episodes after
every restart, once for each of `lib.envs.api.data_parts` in that order, `pending` is 0, and a task
lasts `budget.updates_per_task`."""


class Heads(Protocol):
    """Per-task heads: an agent that keeps parts of itself apart for every task."""

    def save(self) -> dict[str, Any]:
        """What acts the current task, as nested tensors."""
        ...

    def load(self, saved: dict[str, Any]) -> Any:
        """Something that `Agent.act` takes as `heads`, from what `save` gave."""
        ...


class Foreign(NamedTuple):
    """A part of another run that an agent takes from a file before its first task."""

    setting: str  # which names the file, for errors
    part: str  # one of `Family.parts`
    path: str  # a file that `lib.runner.parts` wrote, a run folder or a checkpoint
    teaches: bool = False  # it tells what its run's tasks pay, so that a new task is to be none


class Moved(NamedTuple):
    """What was done with one tensor when an agent took parts of another run."""

    name: str
    # "copy", "random", "fraction", ...; "fixed" for a copy that never learns; "unused" for one that
    # only the other run has.
    how: str
    shape: tuple[int, ...]  # here; of an unused one there
    source: tuple[int, ...]  # there; () where the other run has none
    note: str = ""  # what is to be said besides


class Transfer(Protocol):
    """An agent that can start from another run's parts."""

    load_parts: Callable[[dict[str, Any]], list[Moved]] | None
    """Takes some parameters of another run's agent, as the run's section `transfer` says, before
    any update; None where a family cannot."""

    take: Callable[[Foreign, Mapping[str, Tensor]], list[Moved]] | None
    """Takes a part of another run that the run's settings name; None where a family cannot."""

    def template(self, with_heads: bool) -> dict[str, Any]:
        """The parts that a checkpoint must hold, by name, with tensors of the right shapes."""
        ...

    def check(self, theirs: RunConfig, path: Path) -> None:
        """Raises UserError where the other run's parts are of no use to this method."""
        ...

    def load_world_model(self, parts: dict[str, Any]) -> None:
        """Takes the world model of another run; everything else stays fresh."""
        ...

    def load_heads(self, state: dict[str, Any]) -> None:
        """Takes what acted in another run: policies and values."""
        ...

    def finish_schedules(self) -> None:
        """Acts from now on as at the end of a task, past everything that changes over its steps."""
        ...


class Search(Protocol):
    """An agent that tries many action sequences before each decision, and can show them."""

    discount: float  # of the rewards that it adds up

    def act(
        self, obs: Tensor, memory: Any, *, generator: torch.Generator, trace: Callable[..., None]
    ) -> tuple[Tensor, Any]:
        """Acts as while evaluating, see `Agent.act`.

        Args:
            trace: called at every iteration with its number, candidates (E, N, h, A), their scores
                (E, N) and indices of the elites (E, K), the best first.
        """
        ...

    def outcomes(self, obs: Tensor, actions: Tensor, heads: Any = None) -> tuple[Tensor, Tensor]:
        """Returns what is expected of N action sequences, open loop.

        Args:
            obs: (N, L) where each begins, or (L,) where all do. actions: (N, h, A).
            heads: of another task, from `Capabilities.heads`.

        Returns:
            Observations (N, h+1, L), the first ones given, and rewards (N, h).
        """
        ...


@dataclass(frozen=True)
class ReviewRule:
    """How a reviewer is paid, or would be: see `lib.core.losses.review_parts`.

    Args:
        used: whether the agent's method has a reviewer.
        threshold: that of the next task's reviewer.
        norm: of the models' errors, "squared" or "absolute".
    """

    used: bool
    threshold: float
    norm: str
    sharpness: float
    cost: float
    shape: str


class Imagination(NamedTuple):
    """What an agent imagines of an episode of T decisions, open loop, after records it has seen."""

    obs: Tensor | None
    """(T+1, *shape): the records seen, then what is imagined. Images are pictures uint8, however
    they are stored. None: there is nothing to show."""

    origin: str = ""
    """How imagined observations came about, where the world model did not predict them itself."""

    reward: Tensor | None = None
    """(T,) predicted for every decision as the model learns rewards; NaN for those seen."""

    value: Tensor | None = None
    """(T+1,) the critic's at every imagined record; NaN for those seen."""

    disagreement: Tensor | None = None
    """(T+1,) of an ensemble about every imagined record; NaN for those seen."""

    surprise: Tensor | None = None
    """(T+1,) [nats] KL of what is inferred from every record from what was imagined; NaN for those
    seen. Of models whose imagined observations have no error of their own."""


class Told(NamedTuple):
    """What an agent says of the T decisions of an episode."""

    numbers: Mapping[str, Tensor]  # by what a figure calls them, (T,) each
    words: Sequence[str]  # one line of each decision


@dataclass(frozen=True)
class Capabilities:
    """What an agent can do besides acting and learning; None where it cannot.

    They hold for the moment they were asked for: ask again after a task's boundary.
    """

    predict: Callable[[Tensor, Tensor], Tensor] | None = None
    """One step: observations (n, L) and actions (n, A) to the next observations (n, L)."""

    imagine: Callable[[Tensor, Tensor, int, torch.Generator, Any], Imagination] | None = None
    """Open loop: an episode's obs (T+1, *shape), its action (T, A), how many records of it are
    seen, a random generator, and what `remember` returned or None."""

    remember: Callable[[Episodes | None, Mapping[str, np.ndarray], torch.Generator], Any] | None = (
        None
    )
    """What `imagine` takes besides: from episodes of the agent's run, the arrays of the audit of
    its world model, and a random generator; None where it takes nothing."""

    value: Callable[[Tensor, Tensor, torch.Generator], Tensor] | None = None
    """A critic's expectation: an episode's obs (T+1, *shape) and action (T, A), and a random
    generator, to (T,), the return from every decision on."""

    decisions: Callable[[Tensor, Tensor, Tensor, Any], Told] | None = None
    """How an episode was decided: its obs (T+1, *shape), action (T, A), reward (T,) and heads as of
    `Agent.act`."""

    look_ahead: int = 0
    """Decisions that its plans or its imagination go ahead."""

    search: Search | None = None

    generate: Callable[[int, torch.Generator], Tensor] | None = None
    """A generator of experience: n to (n, L + A), observation and action side by side."""

    review: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    """A reviewer's reward: observation, action, next observation to (n,)."""

    review_rule: ReviewRule | None = None

    heads: Heads | None = None

    is_told: bool = False
    """An earlier task is acted with its heads even where it is looked at while another is learnt:
    they tell the agent which task it is, and are no older parts of itself."""

    transfer: Transfer | None = None

    fit: Callable[[int], Any] | None = None
    """Makes so many updates of the world model alone, on what the agent has stored."""

    probe: Callable[[Domain, Any, torch.Generator], dict[str, float]] | None = None
    """What each part of the agent still knows of the tasks before the current one: the domain, what
    was held out of them and a random generator, to flat metrics `probe/<task>/<metric>`."""


class Agent(Protocol):
    """One learner over a sequence of tasks."""

    cfg: RunConfig
    collects: Collects
    roles: tuple[str, ...]  # who collects episodes in this task, in order; "learner" is the first
    task: int  # index of the current one, -1 before the first
    steps: int  # decisions in this task
    updates: int  # in this task

    def begin_task(self, index: int) -> None:
        """Crosses a task's boundary."""
        ...

    def act(
        self,
        obs: Tensor,
        memory: Any,
        *,
        role: str = "learner",
        explore: bool = True,
        generator: torch.Generator | None = None,
        heads: Any = None,
    ) -> tuple[Tensor, Any]:
        """Actions for E episodes.

        Args:
            obs: (E, *shape).
            memory: None when the episodes begin, then what the last call returned.
            role: one of `roles`.
            explore: False while evaluating.
            generator: draws what is random; the agent's own if not given.
            heads: of another task, from `Capabilities.heads`.

        Returns:
            (E, A), and what the next call takes as memory.
        """
        ...

    def store(self, role: str, episodes: Episodes) -> None:
        """Takes finished episodes of one role."""
        ...

    @property
    def pending(self) -> int:
        """Updates that are due."""
        ...

    def update(self, n: int) -> None:
        """Makes n updates."""
        ...

    def check_finite(self) -> None:
        """Raises NonFiniteError where a training quantity is no longer a finite number."""
        ...

    def report(self) -> dict[str, float]:
        """Means of every training quantity since the last report, as `train/part/quantity`.

        Raises:
            NonFiniteError: a quantity stopped being finite.
        """
        ...

    def audit(
        self, domain: Domain, held_out: Any, generator: torch.Generator
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """What the agent's models make of what was held out: flat metrics, and arrays."""
        ...

    def capabilities(self) -> Capabilities:
        """What it can do besides."""
        ...

    def state_dict(self, with_replay: bool = True) -> dict[str, Any]:
        """Everything; without replay, what acting and transfer need."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a full state exactly; the random generators are restored by their owner."""
        ...


class StepwiseAgent(Agent, Protocol):
    """An agent that learns while its episodes go on: `collects = "steps"`."""

    @property
    def steps_per_update(self) -> int:
        """Env steps that one update asks for."""
        ...

    def count_steps(self, decisions: int) -> None:
        """Counts decisions, which make updates due."""
        ...


class RewardedAgent(Agent, Protocol):
    """An agent that decides by what it has earned: it is told of every reward."""

    def observe_reward(self, memory: Any, reward: Tensor) -> Any:
        """What the next call of `act` takes as memory once a step's rewards are known.

        Args:
            memory: as `act` returned it, of any number of seeds.
            reward: (..., E), with the same leading axes.
        """
        ...


@dataclass(frozen=True)
class TransferStudy:
    """How a family's trained world models are compared on new tasks.

    Args:
        tasks: worlds to the new tasks of each.
        learner: the method of every run that starts from a world model.
        scratch: the method of the runs that start from nothing.
        sources: the methods whose runs are built on where none is named.
        few_episodes: after so many episodes of a new task a few-shot return is read.
        networks: the settings of a run that fix its world model's layout, as a nested mapping.
    """

    tasks: Mapping[str, Sequence[Any]]
    learner: str
    scratch: str
    sources: tuple[str, ...]
    few_episodes: int
    networks: Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class Family:
    """A family of algorithms: a row of `lib.algos.registry`.

    Args:
        config: its complete configuration, whose defaults presets and methods change.
        presets, methods: names to what they change; about: methods to one line each.
        sizes: presets to methods to settings in which a method differs in that preset alone.
        method: the one that is run where none is named.
        check: raises UserError where settings that are fine alone do not fit each other; takes the
            run and whether its first task starts from another run's world model.
        cut: the same run from its task with a given index on.
        build: the agent of a run, from the run, its world, random streams and device.
        least_bytes: how much memory one seed of a run takes at least, by arithmetic alone.
        for_acting: the same run with the least replay that its agent can be built with.
        mixed_spaces: whether tasks of one stream may have different observations and actions.
        shared: whether several processes may learn one agent, whose followers have `follow`, see
            `lib.engine.ranks`.
        parts: of an agent's saved state the tensors of every part that has a name, for other runs
            to take; None where they have none.
        foreign: the parts that a new run takes from files before its first task.
        takes: the sections of its settings that say what a run takes of others.
        begins: in a few words what a run takes of others, from the run and its load_mode.
        transfer_study: see `lib.experiments.transfer`; None where world models are not compared so.
        reference: the method whose runs learn every task alone, for forward transfer.
    """

    config: type[RunConfig]
    presets: Mapping[str, Sections]
    methods: Mapping[str, Sections]
    about: Mapping[str, str]
    method: str
    check: Callable[[Any, bool], None]
    cut: Callable[[Any, int], Any]
    build: Callable[..., Agent]
    for_acting: Callable[[Any], Any]
    sizes: Mapping[str, Mapping[str, Sections]] = field(default_factory=dict)
    least_bytes: Callable[[Any], int] | None = None
    mixed_spaces: bool = False
    shared: bool = False
    parts: Callable[[dict[str, Any]], Mapping[str, Mapping[str, Tensor]]] | None = None
    foreign: Callable[[Any], tuple[Foreign, ...]] = lambda run: ()
    takes: tuple[str, ...] = ()
    begins: Callable[[Any, str], str] = lambda run, load_mode: load_mode
    transfer_study: TransferStudy | None = None
    reference: str = "scratch"
