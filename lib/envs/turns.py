"""A task of a stream may be several tasks of its world, of which episodes are played in turn.

An entry `{name: sources, turns: [walker_walk, cup_catch]}` is one task for agent, replay and
budget; nobody tells the agent which of the constituents it is in.

Letters: n copies, k constituents, m copies of each, A numbers in an action.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.core.errors import UserError, short, unknown
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.api import DataPart, Domain, EndingEnv, Scene, data_parts, evaluation_env, spaces
from lib.envs.around import Around

KEYS = ("name", "turns")


@dataclass(frozen=True)
class Mixture:
    """A task whose episodes are those of several tasks in turn."""

    name: str
    turns: tuple[str, ...]  # names of the constituents, in order
    after: str = ""  # no other agent acts first


@dataclass(frozen=True)
class Layout:
    """Which entries of a stream are mixtures, and of what.

    Args:
        entries: those of single tasks and of constituents, one after another.
        groups: a mixture's name and how many of the entries are its constituents; ("", 1) stands
            for a single task.
    """

    entries: tuple[Any, ...]
    groups: tuple[tuple[str, int], ...]

    @property
    def mixed(self) -> bool:
        """Whether any task is a mixture."""
        return any(name for name, _ in self.groups)

    def tasks(self, single: Sequence[Any]) -> tuple[Any, ...]:
        """Task records of the stream, from those of the entries.

        Raises:
            UserError: a mixture is called like another task.
        """
        found, at = [], 0
        for name, count in self.groups:
            parts, at = tuple(single[at : at + count]), at + count
            found.append(Mixture(name, tuple(part.name for part in parts)) if name else parts[0])
        taken = [task.name for task in single] + [name for name, _ in self.groups if name]
        for name, _ in self.groups:
            if name and taken.count(name) > 1:
                raise UserError(f"task {name!r} is listed twice; names tell results apart")
        return tuple(found)

    def around(self, domain: Domain) -> Domain:
        """The stream's domain, from that of the entries; the same one without mixtures."""
        return TurnsDomain(domain, self) if self.mixed else domain


def layout(entries: Iterable[Any]) -> Layout:
    """Takes the constituents out of the mixtures.

    Raises:
        UserError: a mixture without a name or constituents, with one in another, or unknown keys.
    """
    flat: list[Any] = []
    groups = []
    for entry in entries:
        if not isinstance(entry, Mapping) or "turns" not in entry:
            flat.append(entry)
            groups.append(("", 1))
            continue
        name, parts = _mixture(entry)
        flat += parts
        groups.append((name, len(parts)))
    return Layout(tuple(flat), tuple(groups))


def _mixture(entry: Mapping) -> tuple[str, list[Any]]:
    for key in entry:
        if key not in KEYS:
            raise unknown("key of tasks in turn", key, KEYS)
    name, parts = entry.get("name", ""), entry["turns"]
    if not isinstance(name, str) or not name:
        raise UserError(f"tasks in turn {short(dict(entry))} have no `name`; give them one")
    if not isinstance(parts, list | tuple) or not parts:
        raise UserError(
            f"task {name!r}: turns {short(parts)} name no tasks; list one or more, such as [a, b]"
        )
    for part in parts:
        if isinstance(part, list | tuple) or (isinstance(part, Mapping) and "turns" in part):
            raise UserError(
                f"task {name!r}: turns within turns ({short(part)}); list all the tasks in one"
            )
    return name, list(parts)


class TurnsDomain(Around):
    """A domain some of whose tasks are several of those of the one within.

    Args:
        domain: of all entries, whose tasks are seen and acted in alike.
        stream: what its tasks are here.
    """

    def __init__(self, domain: Domain, stream: Layout):
        super().__init__(domain)
        self.tasks = stream.tasks(domain.tasks)
        ends = np.cumsum([count for _, count in stream.groups]).tolist()
        self._parts = [
            range(end - count, end) for end, (_, count) in zip(ends, stream.groups, strict=True)
        ]

    def task_spaces(self, task_index: int) -> tuple[ObsSpace, ActionSpace]:
        """What one task shows and takes."""
        return spaces(self._domain, self._parts[task_index][0])

    def data_parts(self, task_index: int) -> tuple[DataPart, ...]:
        """Returns the files that a task is learnt from: those of all its constituents, in order."""
        found = (data_parts(self._domain, part) for part in self._parts[task_index])
        return tuple(file for files in found for file in files)

    def make(self, task_index: int) -> EndingEnv:
        """The environments of one task, n at a time; those of a mixture take turns."""
        return self._turns(task_index, self._domain.make, evaluates=False)

    def make_for_evaluation(self, task_index: int) -> EndingEnv:
        """Those in which it is evaluated; of a mixture, every constituent n at a time."""
        return self._turns(task_index, lambda i: evaluation_env(self._domain, i), evaluates=True)

    def _turns(
        self, task_index: int, make: Callable[[int], EndingEnv], evaluates: bool
    ) -> EndingEnv:
        task, envs = self.tasks[task_index], [make(part) for part in self._parts[task_index]]
        if not isinstance(task, Mixture):
            return envs[0]
        return TurnsBatch(task, envs, self._domain.action_repeat, evaluates)

    def optimum(self, task_index: int) -> float | None:
        """Of a mixture the mean of its constituents'; None where one has none."""
        found = [self._domain.optimum(part) for part in self._parts[task_index]]
        return None if None in found else sum(found) / len(found)

    def scene(self, task_index: int) -> Scene:
        """Draws a task; of a mixture the first constituent, which its first copy plays."""
        return self._domain.scene(self._parts[task_index][0])


class TurnsBatch:
    """An `EndingEnv` whose copies play the episodes of several tasks, each copy in its own turn.

    Copy c begins with constituent c mod k, and goes on to the next one at every restart.
    For evaluation, `reset(m)` begins m episodes of every constituent, m k in all, and a restart
    stays with the constituent. A copy whose physics breaks ends there, and counts as it ended.

    Args:
        task: its name and those of the constituents.
        envs: k of them, seen and acted in alike.
        repeat: env steps that a decision lasts.
        evaluates: whether every constituent gets as many copies as are asked for.
    """

    broken = None

    def __init__(self, task: Mixture, envs: Sequence[EndingEnv], repeat: int, evaluates: bool):
        self.name, self.task, self.envs, self.repeat = task.name, task, list(envs), repeat
        self.evaluates = evaluates
        first = envs[0]
        self.obs_space, self.obs_dim, self.actions = first.obs_space, first.obs_dim, first.actions
        self.episode_length = max(env.episode_length for env in envs)
        self.device = first.device
        self._arrange(0)

    def _arrange(self, copies: int) -> None:
        """Makes room for n copies, none of which has played."""
        k = len(self.envs)
        copy = torch.arange(copies)
        self._turn = copy % k  # (n,) the constituent that a copy plays
        self._place = copy // k if self.evaluates else copy  # (n,) its number there
        self._decisions, self._episodes = (torch.zeros(copies, k, dtype=torch.long) for _ in "de")
        self._obs = torch.zeros(copies, *self.obs_space.shape, dtype=self.obs_space.dtype)
        self._obs = self._obs.to(self.device)

    def _turns(self) -> list[tuple[EndingEnv, Tensor, Tensor]]:
        """Constituents, the copies that play them, and their places there."""
        rows = [(self._turn == i).nonzero()[:, 0] for i in range(len(self.envs))]
        return [(env, row, self._place[row]) for env, row in zip(self.envs, rows, strict=True)]

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Start n episodes, or n of every constituent where it evaluates; returns (., *shape)."""
        self._arrange(n * len(self.envs) if self.evaluates else n)
        found = [env.reset(n, generator) for env in self.envs]
        for seen, (_, rows, places) in zip(found, self._turns(), strict=True):
            self._show(rows, places, seen)
        return self._obs.clone()

    def restart(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Start the next episodes of the copies that are true in `chosen` (n,)."""
        chosen = chosen.cpu()
        rows = chosen.nonzero()[:, 0]
        self._episodes[rows, self._turn[rows]] += 1
        if not self.evaluates:
            self._turn[rows] = (self._turn[rows] + 1) % len(self.envs)
        for env, row, places in self._turns():
            mine = torch.zeros(self._inner, dtype=torch.bool)
            mine[places] = chosen[row]
            self._show(row, places, env.restart(mine, generator))
        return self._obs.clone()

    def step(self, action: Tensor, only: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, A) actions to the next observation (n, *shape) and the reward (n,)."""
        going = ~self.ended if only is None else ~self.ended & only.cpu()
        self._decisions[going, self._turn[going]] += 1
        reward = torch.zeros(len(action), device=self.device)
        for env, rows, places in self._turns():
            if not len(rows):
                continue
            acts = action.new_zeros(self._inner, action.shape[1])
            acts[places.to(action.device)] = action[rows.to(action.device)]
            goes = torch.zeros(self._inner, dtype=torch.bool)
            goes[places] = going[rows]
            seen, paid = env.step(acts, only=goes)
            reward[rows.to(self.device)] = paid[places.to(self.device)]
            self._show(rows, places, seen)
        return self._obs.clone(), reward

    @property
    def _inner(self) -> int:
        """m, the copies of each constituent."""
        return len(self._turn) // len(self.envs) if self.evaluates else len(self._turn)

    def _show(self, rows: Tensor, places: Tensor, seen: Tensor) -> None:
        self._obs[rows.to(self.device)] = seen[places.to(self.device)]

    def _of_each(self, what: str) -> Tensor:
        """(n,) what is known on the host of the episode that each copy plays."""
        found = torch.stack([getattr(env, what) for env in self.envs])  # (k, m)
        return found[self._turn, self._place]

    @property
    def ended(self) -> Tensor:
        """(n,) bool on the host: episodes that are over."""
        return self._of_each("ended")

    @property
    def terminal(self) -> Tensor:
        """(n,) bool on the host: over because the task ended, not because time did."""
        return self._of_each("terminal")

    @property
    def success(self) -> Tensor:
        """(n,) bool on the host: the episode reached what its task asks for."""
        return self._of_each("success")

    @property
    def cell(self) -> Tensor | None:
        """(n,) long on the host: where each agent is; None in worlds without cells."""
        return None if self.envs[0].cell is None else self._of_each("cell")

    def executed(self, action: Tensor) -> Tensor:
        """What is kept of (n, A) actions; see `lib.envs.padding`."""
        kept = action.clone()
        for env, rows, _ in self._turns():
            if hasattr(env, "executed"):
                rows = rows.to(action.device)
                kept[rows] = env.executed(action[rows])
        return kept

    def pose(self) -> np.ndarray:
        """(n, .) on the host: what a picture of each copy needs."""
        each = [env.pose() for env in self.envs]
        return np.stack([each[i][at] for i, at in zip(self._turn, self._place, strict=True)])

    def played(self) -> dict[str, int]:
        """How much of every constituent has been played: NAME/env_steps, NAME/episodes."""
        found = {}
        counts = self._decisions.sum(0).tolist(), self._episodes.sum(0).tolist()
        for name, decisions, episodes in zip(self.task.turns, *counts, strict=True):
            found[f"{name}/env_steps"] = decisions * self.repeat
            found[f"{name}/episodes"] = episodes
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """Whose turn it is, what has been played, and the episodes of every constituent."""
        own = {
            "turn": self._turn.clone(),
            "decisions": self._decisions.clone(),
            "episodes": self._episodes.clone(),
            "obs": self._obs.clone(),
        }
        for i, env in enumerate(self.envs):
            own |= {f"{i}-{name}": part for name, part in env.state_dict().items()}
        return own

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there; raises UserError as the constituents do."""
        self._arrange(len(state["turn"]))
        self._turn = state["turn"].cpu().clone()
        self._decisions = state["decisions"].cpu().clone()
        self._episodes = state["episodes"].cpu().clone()
        self._obs = state["obs"].to(self.device, copy=True)
        for i, env in enumerate(self.envs):
            own = {
                name.removeprefix(f"{i}-"): part
                for name, part in state.items()
                if name.startswith(f"{i}-")
            }
            env.load_state_dict(own)

    def close(self) -> None:
        """Gives the environments back."""
        for env in self.envs:
            env.close()
        self._arrange(0)
