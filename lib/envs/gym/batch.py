"""Gymnasium environments stepped side by side, each with episodes that end when they end.

Letters: n copies, A numbers in an action, T decisions of the longest episode so far. Stored
observations are (n, *shape).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from lib.core.errors import UserError
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.ending import EndingBatch
from lib.envs.gym.rules import begun, blamed, stepped


@dataclass(frozen=True, eq=False)
class Recipe:
    """How one task's environments are made, begun and read."""

    name: str  # for messages
    make: Callable[[], gymnasium.Env]  # a new environment in each call
    obs_space: ObsSpace
    actions: ActionSpace
    read: Callable[[Any], np.ndarray]  # its observation to the stored one, (*shape)
    act: Callable[[np.ndarray], Any]  # (A,) float32 to its action
    begin: Callable[[gymnasium.Env, int], Any]  # starts the episode of a seed, as `reset` does
    judge: Callable[[float, bool, dict], tuple[bool, bool]]
    """Reward, terminated and info of a last step to: is the state terminal; was it a success."""
    cell: Callable[[gymnasium.Env], int] | None = None  # number of the cell the agent is in
    seed: int | None = None  # of every episode; None: each has its own
    promised: gymnasium.Space | None = None  # what every observation is checked against; None: not


class GymBatch(EndingBatch):
    """One task, n copies in lock-step: a `VectorEnv` whose episodes may end early.

    An episode depends on its seed and the actions alone, so `state_dict` is a seed and the actions
    since, and a resumed run plays them again. A copy whose episode has ended waits: it ignores its
    action, repeats its observation and earns 0, until `restart` or `reset`.

    A copy is *terminal* where the task itself ended: nothing can follow. A cut after
    `episode_length` decisions, or by a time limit of the environment, ends without being terminal.

    Args:
        recipe: the task.
        episode_length: decisions after which an episode is cut.
        device: of observations and rewards; the environments run on the CPU.
    """

    broken = None

    def __init__(self, recipe: Recipe, episode_length: int, device: torch.device | str = "cpu"):
        self.recipe = recipe
        self._envs: list[gymnasium.Env] = []
        spaces = recipe.obs_space, recipe.actions
        super().__init__(recipe.name, *spaces, episode_length, device)

    @property
    def success(self) -> Tensor:
        """(n,) bool on the host: the episode reached what the task asks for."""
        return torch.from_numpy(self._success.copy())

    @property
    def cell(self) -> Tensor | None:
        """(n,) long on the host: where each agent is; None in worlds without cells."""
        if self.recipe.cell is None:
            return None
        return torch.tensor([self.recipe.cell(env) for env in self._envs], dtype=torch.long)

    def state_dict(self) -> dict[str, Tensor]:
        """Every episode in progress: its seed, the actions since, and what they led to.

        Returns:
            seed (n,), length (n,), action (n, T, A), obs (n, *shape), ended, terminal, success.
        """
        longest = int(self._length.max(initial=0))
        arrays = {
            "seed": self._seed,
            "length": self._length,
            "action": self._action[:, :longest],
            "obs": self._obs,
            "ended": self._ended,
            "terminal": self._terminal,
            "success": self._success,
        }
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Make the environments anew and play every episode up to where it was.

        Raises:
            UserError: the same seed and actions led elsewhere.
        """
        saved = {name: tensor.cpu().numpy() for name, tensor in state.items()}
        n = len(saved["seed"])
        self.close()
        self._ask_for(n)
        self._clear(n)
        for copy, seed in enumerate(saved["seed"].tolist()):
            self._begin([copy], [seed])
            for row in saved["action"][copy, : saved["length"][copy]]:
                if self._ended[copy]:
                    break
                self._advance([copy], [row])
        found = self.state_dict()
        for name in ("length", "obs", "ended", "terminal", "success"):
            if not np.array_equal(found[name].numpy(), saved[name], equal_nan=name == "obs"):
                raise UserError(
                    f"{self.recipe.name} cannot be resumed: the same seeds and actions led to "
                    f"another {name!r}; draw all chance from the environment's own np_random, "
                    "which reset(seed=...) sets"
                )

    def close(self) -> None:
        """Gives the environments back; `reset` makes new ones."""
        while self._envs:
            self._envs.pop().close()
        self._clear(0)

    def _ask_for(self, n: int) -> None:
        while len(self._envs) > n:
            self._envs.pop().close()
        while len(self._envs) < n:
            with blamed(self.recipe.name, "making another copy"):
                env = self.recipe.make()
            if any(env is other for other in self._envs):
                raise UserError(
                    f"{self.recipe.name} came twice as the same object, but copies are stepped "
                    "side by side; let the factory build a new environment in each call"
                )
            self._envs.append(env)

    def _clear(self, n: int) -> None:
        super()._clear(n)
        self._action = np.zeros((n, self.episode_length, self.actions.size), dtype=np.float32)
        self._success = np.zeros(n, dtype=bool)

    def _seeds(self, n: int, generator: torch.Generator) -> list[int]:
        """One seed per copy, or the recipe's own; as many are drawn either way."""
        drawn = super()._seeds(n, generator)
        return drawn if self.recipe.seed is None else [self.recipe.seed] * n

    def _begin(self, copies: Sequence[int], seeds: Sequence[int]) -> None:
        for copy, seed in zip(copies, seeds, strict=True):
            self._begin_one(copy, seed)

    def _begin_one(self, copy: int, seed: int) -> None:
        self._seed[copy], self._length[copy] = seed, 0
        self._ended[copy] = self._terminal[copy] = self._success[copy] = False
        name, call = self.recipe.name, f"reset with seed {seed}"
        with blamed(name, call):
            result = self.recipe.begin(self._envs[copy], seed)
        self._keep(copy, begun(name, call, result, self.recipe.promised))

    def _advance(self, copies: Sequence[int], rows: np.ndarray) -> list[float]:
        return [self._advance_one(*each) for each in zip(copies, rows, strict=True)]

    def _advance_one(self, copy: int, row: np.ndarray) -> float:
        """One decision of one copy, which has not ended; its reward."""
        self._action[copy, self._length[copy]] = row
        self._length[copy] += 1
        action, name = self.recipe.act(row), self.recipe.name
        call = f"step {self._length[copy]} of the episode with seed {self._seed[copy]}"
        with blamed(name, call):
            result = self._envs[copy].step(action)
        obs, reward, terminated, truncated, info = stepped(name, call, result, self.recipe.promised)
        self._keep(copy, obs)
        if terminated or truncated or self._length[copy] >= self.episode_length:
            self._ended[copy] = True
            verdict = self.recipe.judge(reward, terminated, info)
            self._terminal[copy], self._success[copy] = verdict
        return reward

    def _keep(self, copy: int, obs: Any) -> None:
        """Stores an observation, refusing one that would lose digits on the way."""
        stored = self.recipe.read(obs)
        if stored.dtype != self._obs.dtype or stored.shape != self.obs_space.shape:
            raise ValueError(
                f"{self.recipe.name} observed {stored.shape} {stored.dtype}; "
                f"stored is {self.obs_space.shape} {self._obs.dtype}"
            )
        self._obs[copy] = stored
