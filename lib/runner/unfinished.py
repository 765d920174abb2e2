"""Episodes under way: what an agent that learns meanwhile has seen of them so far.

Shapes: E parallel episodes, A action.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.engine.seed_batch import forget
from lib.envs.api import EndingEnv
from lib.replay.buffer import Episodes
from lib.runner import expected, expected_state


class Unfinished:
    """E episodes under way in one run, with all that it takes to go on after a kill.

    Args:
        env: where they are played.
        count: E.
        generator: draws the beginnings.
    """

    def __init__(self, env: EndingEnv, count: int, generator: torch.Generator):
        self.env, self.count = env, count
        self.memory: Any = None
        self.obs = env.reset(count, generator)
        steps, device = env.episode_length, self.obs.device
        self.kept = {
            "obs": self.obs.new_zeros(count, steps + 1, *self.obs.shape[1:]),
            "action": torch.zeros(count, steps, env.actions.size, device=device),
            "reward": torch.zeros(count, steps, device=device),
        }
        if env.cell is not None:
            self.kept["cell"] = torch.zeros(count, steps + 1, dtype=torch.int64)
        self.length = [0] * count  # decisions of each so far, on the host
        self._note(range(count))

    @classmethod
    def loaded(cls, env: EndingEnv, count: int, saved: Any, path: Path) -> "Unfinished":
        """Returns episodes that go on from where a checkpoint left them.

        Args:
            env: where they were played, or one like it.
            count: E.
            saved: what `state_dict` gave.
            path: the checkpoint, for messages.

        Raises:
            UserError: these are not E episodes of this world.
        """
        self = cls(env, count, torch.Generator(env.device))
        template = self.state_dict()
        world = {
            name: expected_state.tensor(part.dtype, part.dim())
            for name, part in template["env"].items()
        }
        complaint = expected_state.like(saved, template | {"env": {}}, "unfinished")
        complaint = complaint or expected.record(world)(saved["env"], "unfinished/env")
        if complaint or not self._fits(saved):
            raise expected.damaged(path, complaint or "unfinished are not as many episodes")
        env.load_state_dict(saved["env"])
        self.obs = saved["env"]["obs"].to(env.device)
        self.kept = {name: value.clone() for name, value in saved["kept"].items()}
        self.length = list(saved["length"])
        self.memory = saved["memory"]
        return self

    def _fits(self, saved: Any) -> bool:
        """Whether saved episodes are as many, and as long at most, as these."""
        same = all(saved["kept"][name].shape == value.shape for name, value in self.kept.items())
        lengths = expected.each(expected.WHOLE, self.count)(saved["length"], "") is None
        short = lengths and max(saved["length"]) <= self.env.episode_length
        worlds = all(len(part) == self.count for part in saved["env"].values())
        return same and short and worlds

    def _note(self, which: Sequence[int]) -> None:
        """Writes down where episodes are."""
        rows, at = torch.tensor(list(which)), torch.tensor([self.length[e] for e in which])
        self.kept["obs"][rows, at] = self.obs[rows]
        if "cell" in self.kept:
            self.kept["cell"][rows, at] = self.env.cell[rows]

    def step(self, action: Tensor, generator: torch.Generator) -> list[Episodes]:
        """Plays one step of each; returns the episodes that it ended, one by one.

        Args:
            action: (E, A).
            generator: draws the beginnings of those that follow.
        """
        rows, at = torch.arange(self.count), torch.tensor(self.length)
        self.kept["action"][rows, at] = action
        self.obs, reward = self.env.step(action)
        self.kept["reward"][rows, at] = reward
        self.length = [length + 1 for length in self.length]
        self._note(range(self.count))
        ended = self.env.ended
        if not bool(ended.any()):
            return []
        over = ended.nonzero()[:, 0].tolist()
        episodes = [self._episode(e) for e in over]
        self.obs = self.env.restart(ended, generator)
        for e in over:
            self.length[e] = 0
        self._note(over)
        self.memory = forget(self.memory, ended)
        return episodes

    def cut(self) -> list[Episodes]:
        """All that is unfinished, as episodes that were cut."""
        return [self._episode(e) for e in range(self.count) if self.length[e]]

    def _episode(self, e: int) -> Episodes:
        steps, ended = self.length[e], bool(self.env.ended[e])
        cell = self.kept["cell"][e : e + 1, : steps + 1].clone() if "cell" in self.kept else None
        return Episodes(
            self.kept["obs"][e : e + 1, : steps + 1].clone(),
            self.kept["action"][e : e + 1, :steps].clone(),
            self.kept["reward"][e : e + 1, :steps].clone(),
            torch.tensor([steps]),
            self.env.terminal[e : e + 1].clone() & ended,
            self.env.success[e : e + 1].clone() & ended,
            cell,
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns everything, the environments by what it takes to play them up to now again."""
        return {
            "env": self.env.state_dict(),
            "kept": self.kept,
            "length": list(self.length),
            "memory": self.memory,
        }
