"""A task's episodes as windows of C steps, left-padded where an episode is shorter than that.

Shapes: N steps of all episodes, B windows, C steps of a window, S slots, A action dimensions.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lib.algos.decision_transformer.tokens import padded, returns_to_go, to_tokens
from lib.core.errors import UserError
from lib.replay.buffer import Episodes

CHUNK = 256  # episodes that are looked at together


class Window(NamedTuple):
    """What the model reads; steps that are not valid are padding and 0, their tokens the last."""

    state: Tensor  # (B, C, S)
    to_go: Tensor  # (B, C) return from this step on, divided by the scale
    action: Tensor  # (B, C, A) long
    reward: Tensor  # (B, C) divided by the scale
    time: Tensor  # (B, C) long, step of the episode
    valid: Tensor  # (B, C) bool
    real: Tensor  # (B, A) bool, dimensions that the task's actions have


class Experience:
    """All steps of one domain, one episode after the other.

    Observations stay where they are, at their own size, perhaps in files on the disk: only what is
    drawn is read, and becomes a vector of slots. All else is computed once.

    Args:
        episodes: (E, T, ...) of one task.
        slots: where an observation's numbers go.
        sizes: how many slots, action dimensions, bins and steps of context the model has.
        scale: returns and rewards are divided by it.
        task: its name, for messages.
        keep_short: also episodes shorter than the context.

    Raises:
        UserError: an action outside [-1, 1], numbers that are none, or no episode long enough.
    """

    ROWS = ("to_go", "reward", "action", "time", "real", "left", "part", "row")

    def __init__(
        self,
        episodes: Episodes,
        slots: tuple[int, ...],
        sizes: tuple[int, int, int, int],
        scale: float,
        task: str,
        keep_short: bool,
    ):
        self.all_slots, self.width, self.bins, self.context = sizes
        obs, action, reward = episodes.obs, episodes.action, episodes.reward
        count, steps = reward.shape
        device = reward.device
        length = episodes.length
        length = torch.full((count,), steps, device=device) if length is None else length
        inside = torch.arange(steps, device=device) < length.unsqueeze(1)  # (E, T)
        self._check(obs, action, reward, inside, task)
        to_go = returns_to_go(reward * inside, scale)
        reward = reward * inside / scale
        self.best = float(to_go[:, 0].max())  # return, divided by the scale
        if not keep_short:
            inside = inside & (length >= self.context).unsqueeze(1)
        if not bool(inside.any()):
            raise UserError(
                f"no episode of task '{task}' has the {self.context} steps of model.context; "
                "lower that, or set data.pad_starts"
            )
        self.slots = torch.tensor(slots, device=device)
        self.parts = [obs.flatten(0, 1)]  # (E (T+1), L) each
        time = torch.arange(steps, device=device).expand(count, steps)
        row = time + (steps + 1) * torch.arange(count, device=device).unsqueeze(1)
        self.row = row[inside]  # of a step's observation in its part
        self.part = torch.zeros_like(self.row, dtype=torch.short)
        self.to_go, self.reward = to_go[inside], reward[inside]
        tokens = to_tokens(padded(action[inside], self.width), self.bins)
        self.action = tokens.short()  # small numbers: there may be a hundred million steps
        self.time = time[inside].int()
        real = torch.arange(self.width, device=device) < action.shape[-1]
        self.real = real.expand(len(self.time), self.width)
        # Steps of the same episode that follow each one.
        self.left = (length.unsqueeze(1) - 1 - time)[inside].int()

    @staticmethod
    def _check(obs: Tensor, action: Tensor, reward: Tensor, inside: Tensor, task: str) -> None:
        named = {"observations": obs[:, :-1], "actions": action, "rewards": reward}
        for name, numbers in named.items():
            for at in range(0, len(inside), CHUNK):
                here = slice(at, at + CHUNK)
                if not bool(torch.isfinite(numbers[here][inside[here]]).all()):
                    raise UserError(
                        f"{name} of task '{task}' hold numbers that are not finite; write its "
                        "file again"
                    )
        furthest = float(action[inside].abs().max())
        if furthest > 1:
            raise UserError(
                f"an action of task '{task}' holds {furthest:.4g} (without its sign), outside the "
                "bins, which cover -1 to 1; rescale the actions of its file"
            )

    def join(self, other: "Experience") -> None:
        """Takes the steps of another task of the same domain as well."""
        shift = {"part": len(self.parts)}
        if self.time.device.type == "cpu":
            self.parts += other.parts
        else:  # in a device's memory nothing is mapped, and one look-up is faster than many
            shift = {"row": len(self.parts[0])}
            self.parts = [torch.cat((*self.parts, *other.parts))]
        for name in self.ROWS:
            theirs = getattr(other, name)
            theirs = theirs + shift[name] if name in shift else theirs
            setattr(self, name, torch.cat((getattr(self, name), theirs)))

    @property
    def state(self) -> Tensor:
        """(N, S) the observations of all steps, each number in its slot."""
        return self._states(torch.arange(len(self), device=self.time.device))

    def _states(self, index: Tensor) -> Tensor:
        """Reads the observations of some steps, (...) to (..., S)."""
        flat = index.flatten()
        part, row = self.part[flat], self.row[flat]
        found = self.parts[0].new_zeros(len(flat), self.all_slots)
        for number in part.unique().tolist() if len(self.parts) > 1 else [0]:
            mine = (part == number).nonzero()[:, 0]
            found[mine.unsqueeze(1), self.slots] = self.parts[number][row[mine]]
        return found.unflatten(0, index.shape)

    def __len__(self) -> int:
        return len(self.time)

    def draw(
        self,
        batch: int,
        generator: torch.Generator,
        pad_starts: bool,
        share: slice = slice(None),
    ) -> Window:
        """Draws windows, each step as likely as any other: longer episodes more often.

        Args:
            pad_starts: the window ends at the step drawn, as while acting, so that it is padded at
                an episode's start. Otherwise it begins there, as in the published code, so that it
                is padded at an episode's end.
            share: of the windows drawn, those that are wanted.
        """
        drawn = torch.randint(len(self), (batch,), generator=generator)[share]
        drawn = drawn.to(self.time.device)
        if pad_starts:
            return self.at(drawn)
        last = drawn + self.left[drawn].clamp_max(self.context - 1)
        return self.at(last, drawn)

    def starts(self, batch: int, generator: torch.Generator) -> Window:
        """Draws windows of an episode's first steps, all of them padded."""
        short = (self.time < self.context - 1).nonzero()[:, 0]
        if not len(short):  # a context of one step is never padded
            short = torch.arange(len(self), device=self.time.device)
        rows = torch.randint(len(short), (batch,), generator=generator)
        return self.at(short[rows.to(short.device)])

    def at(self, last: Tensor, first: Tensor | None = None) -> Window:
        """Returns the windows that end at some steps.

        Args:
            last: (B,) indices of steps. first: (B,) where they begin at the earliest; left out,
                where their episodes begin.
        """
        first = last - self.time[last] if first is None else first
        first = torch.maximum(first, last - self.context + 1)
        back = torch.arange(self.context - 1, -1, -1, device=last.device)
        index = last.unsqueeze(1) - back  # (B, C)
        valid = index >= first.unsqueeze(1)
        index = index.clamp_min(0)
        return Window(
            state=self._states(index) * valid.unsqueeze(-1),
            to_go=self.to_go[index] * valid,
            action=self.action[index].long().masked_fill(~valid.unsqueeze(-1), self.bins),
            reward=self.reward[index] * valid,
            time=self.time[index].long() * valid,
            valid=valid,
            real=self.real[last],
        )
