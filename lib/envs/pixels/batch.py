"""Copies of a task of the suite in lock-step, seen as pictures.

Letters: n copies, A numbers in an action, S numbers in a state of the physics.
"""

import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lib.core.errors import UserError
from lib.core.spaces import ActionSpace, ObsSpace
from lib.envs.ending import EndingBatch
from lib.envs.pixels.copies import Plan, Seen
from lib.envs.pixels.processes import Backend, Call, Pool, ProcessesEnded

ANOTHER_PICTURE = 10  # mean difference [of 255 levels] that no other renderer makes


class PixelBatch(EndingBatch):
    """One task, n copies in lock-step: an `EndingEnv` of pictures (n, size, size, 3) uint8.

    Episodes are cut after `episode_length` decisions; in most tasks nothing else ends them. A copy
    whose physics breaks ends there as well, counted in `broken`. An ended copy waits: it ignores
    its action, repeats its observation and earns 0.

    An episode follows from its seed and the actions. What is saved is the seed, for what the task
    and the background drew, and the state of the physics, from which it goes on bit for bit.

    Args:
        plan: the task and its looks.
        episode_length: decisions after which an episode is cut.
        device: of observations and rewards; simulation and drawing are the CPU's, or OpenGL's.
        workers: processes, see `Pool.take`.
        pool: where those that simulate and draw come from, and go to when this batch is gone.
    """

    cell = None

    def __init__(
        self,
        plan: Plan,
        episode_length: int,
        device: torch.device | str = "cpu",
        workers: int = 1,
        pool: Pool | None = None,
    ):
        self.plan, self.workers = plan, workers
        self._pool = pool or Pool()
        self._backend: Backend | None = None
        self._release = None
        space = ObsSpace("image", (plan.size, plan.size, 3), torch.uint8)
        actions = ActionSpace(plan.task.actions, discrete=False)
        super().__init__(plan.task.name, space, actions, episode_length, device)

    @property
    def broken(self) -> Tensor:
        """(n,) bool on the host: episodes that are over because their physics broke."""
        return torch.from_numpy(self._broken.copy())

    @property
    def success(self) -> Tensor:
        """(n,) bool on the host: all false, as the suite knows rewards alone."""
        return torch.zeros(len(self._obs), dtype=torch.bool)

    def state_dict(self) -> dict[str, Tensor]:
        """Every episode in progress.

        Returns:
            seed (n,), length (n,), obs (n, *shape), ended, terminal, broken, and physics (n, S)
            float64, 0 for copies that have ended.
        """
        states = self._run([("state", copy) for copy in range(len(self._obs))])
        physics = np.stack(states) if states else np.zeros((0, 0))
        physics[self._ended] = 0  # nothing goes on from there
        arrays = {
            "seed": self._seed,
            "length": self._length,
            "physics": physics,
            "obs": self._obs,
            "ended": self._ended,
            "terminal": self._terminal,
            "broken": self._broken,
        }
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there.

        Raises:
            UserError: a state of another task, or one that looks different here.
        """
        saved = {name: tensor.cpu().numpy() for name, tensor in state.items()}
        n, name = len(saved["seed"]), self.name
        self._ask_for(n)
        self._clear(n)
        going = np.flatnonzero(~saved["ended"]).tolist()
        calls = [
            (
                "restore",
                copy,
                int(saved["seed"][copy]),
                saved["physics"][copy].copy(),
                int(saved["length"][copy]),
            )
            for copy in going
        ]
        try:
            redrawn = self._run(calls)
        except ValueError as error:
            raise UserError(f"{name} cannot be resumed: {error}") from error
        for part in ("seed", "length", "obs", "ended", "terminal", "broken"):
            getattr(self, f"_{part}")[:] = saved[part]
        for copy, seen in zip(going, redrawn, strict=True):
            off = np.abs(seen.picture.astype(np.float32) - self._obs[copy]).mean()
            if off > ANOTHER_PICTURE:
                raise UserError(
                    f"{name} cannot be resumed: it looks different here from when it was saved "
                    f"({off:.0f} of 255 levels on average); put the videos of background "
                    f"{self.plan.background!r} back, or start over in another folder"
                )

    def close(self) -> None:
        """Gives back what simulates and draws; `reset` takes it again."""
        if self._release is not None:
            self._release()
        self._backend = self._release = None
        self._clear(0)

    def _ask_for(self, n: int) -> None:
        """Takes a backend for n copies, unless the one at hand is that."""
        if self._backend is not None and self._backend.usable and len(self._obs) == n:
            return
        self.close()
        if n:
            self._hold(self._pool.take(self.plan, n, self.workers))

    def _hold(self, backend: Backend) -> None:
        self._backend = backend
        # Batches are dropped without a word when an evaluation is over.
        self._release = weakref.finalize(self, self._pool.give, backend)
        self._release.atexit = False

    def _run(self, calls: Sequence[Call]) -> list:
        """Results of calls, whatever becomes of the processes that are asked."""
        if not calls:
            return []
        try:
            results = self._backend.run(calls)
        except ProcessesEnded as error:
            self._hold(self._pool.replace(self._backend, error))
            for history in self._history:  # episodes repeat themselves
                self._backend.run(history)
            results = self._backend.run(calls)
        for call in calls:
            name, copy = call[:2]
            if name in ("begin", "restore"):
                self._history[copy] = [call]
            elif name == "step":
                self._history[copy].append(call)
        return results

    def _clear(self, n: int) -> None:
        super()._clear(n)
        self._history: list[list[Call]] = [[] for _ in range(n)]  # what led to where copies are
        self._broken = np.zeros(n, dtype=bool)

    def _begin(self, copies: Sequence[int], seeds: Sequence[int]) -> None:
        calls = [("begin", copy, seed) for copy, seed in zip(copies, seeds, strict=True)]
        seen: Seen
        for copy, seed, seen in zip(copies, seeds, self._run(calls), strict=True):
            self._obs[copy], self._seed[copy], self._length[copy] = seen.picture, seed, 0
            self._ended[copy] = self._terminal[copy] = self._broken[copy] = False

    def _advance(self, copies: Sequence[int], rows: np.ndarray) -> list[float]:
        calls = [("step", copy, row) for copy, row in zip(copies, rows, strict=True)]
        rewards = []
        self._length[copies] += 1
        for copy, seen in zip(copies, self._run(calls), strict=True):
            self._obs[copy], outcome = seen
            rewards.append(outcome.reward)
            self._terminal[copy], self._broken[copy] = outcome.terminal, outcome.broken
            cut = self._length[copy] >= self.episode_length
            self._ended[copy] = outcome.terminal or outcome.broken or cut
        return rewards
