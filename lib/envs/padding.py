"""Tasks that take or show different numbers of numbers are made alike for one agent.

Every task's actions are normalised to [-1, 1] first; the union of such boxes is that of the task
with the most numbers. An environment executes the first numbers of an action, those that its task
has; agents, replay and dynamics see all of them. Vectors that are observed end in zeros.

Letters: n copies, A numbers in an action, L in an observation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from lib.core.errors import UserError
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.api import Domain, EndingEnv, evaluation_env, spaces
from lib.envs.around import Around

KINDS = {"vector": "a vector", "symbols": "symbols", "image": "an image"}


def width(sizes: Mapping[str, int], least: int, setting: str) -> int:
    """Returns how many numbers there are once every task has as many.

    Args:
        sizes: task to its own numbers.
        least: pad to so many at least; 0: as many as the tasks need.
        setting: what `least` is called, for messages.

    Raises:
        UserError: so many are too few for a task.
    """
    widest = max(sizes, key=lambda name: sizes[name])
    if 0 < least < sizes[widest]:
        raise UserError(
            f"{setting} {least} is too small: task '{widest}' has {sizes[widest]} numbers; make it "
            "at least that, or 0 for as many as the tasks need"
        )
    return max(least, sizes[widest])


def padded(
    domain: Domain, least_actions: int = 0, least_numbers: int = 0, mask: bool = False
) -> Domain:
    """Returns a domain whose tasks take and show as many numbers; the same one where they do.

    Args:
        domain: with `task_spaces`, where its tasks differ.
        least_actions: `env.min_actions`.
        least_numbers: `env.min_numbers`; pictures and symbols stay as they are.
        mask: `env.mask_padding`.

    Raises:
        UserError: a least that is too small, or tasks that no padding makes alike.
    """
    names = [task.name for task in domain.tasks]
    found = [spaces(domain, index) for index in range(len(names))]
    check_kinds(names, found)
    first, actions = found[0]
    wide, long = actions.size, first.shape
    if actions.discrete and least_actions:
        raise UserError(
            f"env.min_actions {least_actions} pads actions that are numbers, but task "
            f"'{names[0]}' takes one of {actions.size} discrete ones; leave it at 0"
        )
    if not actions.discrete:
        sizes = {name: own.size for name, (_, own) in zip(names, found, strict=True)}
        wide = width(sizes, least_actions, "env.min_actions")
    if first.kind == "vector":
        sizes = {name: space.shape[0] for name, (space, _) in zip(names, found, strict=True)}
        long = (width(sizes, least_numbers, "env.min_numbers"),)
    if all((own.size, space.shape) == (wide, long) for space, own in found):
        return domain
    space = ObsSpace(first.kind, long, first.dtype, first.classes, first.draw)
    actions = actions if actions.discrete else ActionSpace(wide, discrete=False)
    return PaddedDomain(domain, space, actions, mask)


def check_kinds(names: Sequence[str], found: Sequence[tuple[ObsSpace, ActionSpace]]) -> None:
    """Raises UserError where tasks differ in more than in how many numbers they have.

    Args:
        names: of the tasks.
        found: what each shows and takes.
    """
    (first, actions), *others = found
    for name, (space, own) in zip(names[1:], others, strict=True):
        kind = (first.kind, first.dtype, first.classes)
        shape = first.kind == "vector" or first.shape == space.shape
        same = shape and kind == (space.kind, space.dtype, space.classes)
        choice = actions.discrete or own.discrete
        if not same or (choice and actions != own):
            raise UserError(
                "the tasks of a stream share the kinds of their observations and actions, but "
                f"'{names[0]}' has {_described(first, actions)}, and '{name}' "
                f"{_described(space, own)}; name tasks that agree, or wrap them until they do"
            )


def _described(space: ObsSpace, actions: ActionSpace) -> str:
    shape = "x".join(str(side) for side in space.shape)
    kind = "discrete actions" if actions.discrete else "numbers in an action"
    return f"{KINDS[space.kind]} of {shape} and {actions.size} {kind}"


class PaddedDomain(Around):
    """A domain all of whose tasks have one action space and one observation space.

    Args:
        domain: the one within.
        obs_space, actions: that all its tasks are padded to.
        mask: whether numbers of an action that a task does not have are kept as zeros.
    """

    def __init__(self, domain: Domain, obs_space: ObsSpace, actions: ActionSpace, mask: bool):
        super().__init__(domain)
        self.obs_space, self.actions, self.mask = obs_space, actions, mask
        self.obs_dim = int(np.prod(obs_space.shape))

    def task_spaces(self, task_index: int) -> tuple[ObsSpace, ActionSpace]:
        """What every task shows and takes."""
        return self.obs_space, self.actions

    def make(self, task_index: int) -> "Padded":
        """The environments of one task, n at a time."""
        return Padded(self._domain.make(task_index), self.obs_space, self.actions, self.mask)

    def make_for_evaluation(self, task_index: int) -> "Padded":
        """Those in which it is evaluated."""
        env = evaluation_env(self._domain, task_index)
        return Padded(env, self.obs_space, self.actions, self.mask)

    def pose_of(self, obs: Tensor, first: np.ndarray) -> np.ndarray:
        """Poses (T + 1, .) that look like observations (T + 1, L); see `Domain`."""
        if self.obs_space.kind == "vector":
            obs = obs[:, : self._domain.obs_dim]
        return self._domain.pose_of(obs, first)


class Padded:
    """An `EndingEnv` that takes more numbers than the one within, or shows more."""

    def __init__(self, env: EndingEnv, obs_space: ObsSpace, actions: ActionSpace, mask: bool):
        self._env, self._mask = env, mask
        self.obs_space, self.actions = obs_space, actions
        self.obs_dim = int(np.prod(obs_space.shape))

    def __getattr__(self, name: str) -> Any:
        if name == "_env":
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Start n episodes; returns (n, L)."""
        return self._shown(self._env.reset(n, generator))

    def restart(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Start new episodes of the copies that are true in `chosen` (n,); returns (n, L)."""
        return self._shown(self._env.restart(chosen, generator))

    def step(self, action: Tensor, only: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, A) actions, of which the first numbers are executed, to observation and reward."""
        if action.shape[1] != self.actions.size:
            raise ValueError(f"actions {tuple(action.shape)}; {self.actions.size} numbers are due")
        obs, reward = self._env.step(action[:, : self._env.actions.size], only)
        return self._shown(obs), reward

    def executed(self, action: Tensor) -> Tensor:
        """What is kept of (..., n, A) actions, and what the agent is told that it did."""
        own = self._env.actions.size
        if not self._mask or own == self.actions.size:
            return action
        return pad(action[..., :own], (0, self.actions.size - own))

    def state_dict(self) -> dict[str, Tensor]:
        """The episodes in progress, with observations as they are shown."""
        state = self._env.state_dict()
        return state | {"obs": self._shown(state["obs"])}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there; raises UserError as the environment within."""
        own = self._env.obs_space
        obs = state["obs"][:, : own.shape[0]] if own.kind == "vector" else state["obs"]
        self._env.load_state_dict(state | {"obs": obs})

    def _shown(self, obs: Tensor) -> Tensor:
        missing = self.obs_space.shape[0] - obs.shape[1] if self.obs_space.kind == "vector" else 0
        return pad(obs, (0, missing)) if missing else obs
