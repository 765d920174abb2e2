"""Replays whole episodes of any length: time steps on the device, bookkeeping on the host.

Letters: E episodes, L actions of an episode, T records of a sequence, B rows, A action size,
N episodes stored.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.core.errors import NonFiniteError, UserError
from lib.core.trees import leaf_map
from lib.replay.buffer import Episodes
from lib.replay.coverage import embedding
from lib.replay.records import Records
from lib.replay.retention import build
from lib.replay.sampling import Rows, Sampler, Table


class Batch(NamedTuple):
    """Training sequences, time first; the action is the one that led to the observation."""

    obs: Tensor  # (T, B, *shape) as stored
    action: Tensor  # (T, B, A) float32, zero at an episode's beginning
    reward: Tensor  # (T, B) float32, received on the way here
    first: Tensor  # (T, B) bool, the latent is reset before this record
    terminal: Tensor  # (T, B) bool, the world ended here; a time limit does not count


class EpisodeStore:
    """Whole episodes, at most `capacity` actions of them, and sequences drawn from them.

    An episode of L actions is L+1 records: the first one has a zero action and no reward. The
    host decides who stays and what is drawn, so that a draw waits for no device; `add` reads the
    lengths and returns of the new episodes back, once.

    Args:
        capacity: actions kept.
        obs_shape, obs_dtype: of an observation as stored.
        episode_length: most actions of an episode.
        retention: which episodes stay, see `retention.build`.
        sampling, recent_share, slack, row_start: what is drawn, see `Sampler`.
        min_length: actions; shorter episodes are discarded and counted in `discarded`.
        to_images: coverage: stored observations (..., *shape) to pictures (..., h, w, 3) uint8;
            None where they are pictures already.
        seed_generator: coverage: of the embedding's weights, on the CPU.

    Raises:
        UserError: an episode does not fit the capacity or the bounds of its length, a name is
            unknown, or coverage is asked for where there are no pictures.
    """

    def __init__(
        self,
        capacity: int,
        obs_shape: Sequence[int],
        obs_dtype: torch.dtype,
        action_size: int,
        episode_length: int,
        *,
        retention: str,
        sampling: str,
        recent_share: float,
        min_length: int,
        slack: int,
        row_start: str,
        to_images: Callable[[Tensor], Tensor] | None = None,
        seed_generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ):
        if capacity < episode_length:
            raise UserError(
                f"a replay of {capacity} steps cannot hold an episode of {episode_length}; "
                f"raise replay.capacity to {episode_length} or more"
            )
        if not 1 <= min_length <= episode_length:
            raise UserError(
                f"episodes of {min_length} steps or more are to be kept, but they have 1 to "
                f"{episode_length}; change replay.min_length"
            )
        embed = None
        if retention == "coverage":
            embed = embedding(obs_shape, obs_dtype, to_images, seed_generator).to(device)
        self.capacity, self.episode_length, self.min_length = capacity, episode_length, min_length
        self.device, self.discarded = torch.device(device), 0
        self.table, self.rule = Table(), build(retention, embed)
        self.sampler = Sampler(sampling, recent_share, slack, row_start)
        # One record more than actions in each episode, and episodes are no shorter than allowed.
        limit = capacity + capacity // min_length
        self.records = Records(limit, obs_shape, obs_dtype, action_size, device)

    # What is stored ------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Counts the actions stored."""
        return int(self.table.column("length").sum())

    @property
    def episodes(self) -> int:
        """Counts the episodes stored."""
        return len(self.table)

    @property
    def tasks(self) -> np.ndarray:
        """Returns (N,) the task of every stored episode, oldest first; for plots and logs."""
        return self.table.column("task")

    @property
    def returns(self) -> np.ndarray:
        """Returns (N,) the sum of rewards of every stored episode, oldest first."""
        return self.table.column("returned")

    def composition(self, tasks: int) -> np.ndarray:
        """Returns (tasks,) each task's share of the stored actions; zeros while it is empty."""
        held = np.bincount(self.tasks, self.table.column("length"), tasks)
        return held / max(1.0, held.sum())

    # Adding --------------------------------------------------------------------------------

    def add(
        self,
        episodes: Episodes,
        task: int,
        generator: torch.Generator,
        priority: Sequence[float] | Tensor | None = None,
        returned: Tensor | None = None,
    ) -> int:
        """Offers E episodes, one after the other.

        Args:
            episodes: their observations in the stored dtype, on any device.
            task: number of the task; what is drawn does not depend on it.
            generator: on the CPU.
            priority: (E,) for uncertainty sampling, not negative.
            returned: (E,) what the world paid, where rewards have a bonus; None: their sum.

        Returns:
            How many were discarded because they are too short.
        """
        _on_host(generator)
        length, paid = self._inspected(episodes)
        returned = paid if returned is None else returned.double().tolist()
        worth = self._priorities(priority, len(length))
        long = [e for e, steps in enumerate(length) if steps >= self.min_length]
        self.discarded += len(length) - len(long)
        views = None
        if long:
            some = torch.tensor(long, device=episodes.obs.device)
            whole = episodes.obs if len(long) == len(length) else episodes.obs[some]
            views = self.rule.views(whole.to(self.device), [length[e] for e in long])
        entered = []  # (episode, place, arrival)
        for i, e in enumerate(long):
            view = None if views is None else views[i]
            key = self.rule.key(generator, self.table.next_place(), self.table.order, view)
            kept = {"length": length[e], "returned": returned[e], "priority": worth[e]}
            entered.append(
                (e, self.table.enter(task=task, key=key, **kept), self.table.arrived - 1)
            )
            self._shed(generator)
        stay = [(e, place) for e, place, arrival in entered if self.table.arrival[place] == arrival]
        if stay:
            self._write(episodes, length, stay)
        return len(length) - len(long)

    def _shed(self, generator: torch.Generator) -> None:
        """Evicts episodes until the capacity is kept."""
        key, size = self.table.column("key"), self.table.column("length")
        leaving = self.rule.leaving(key, size, self.capacity, generator)
        if leaving:
            for slots in self.table.leave(leaving):
                self.records.give(slots)

    def _write(self, episodes: Episodes, length: list[int], stay: list[tuple[int, int]]) -> None:
        """Copies the records of episodes that the table lists."""
        slots, at = [], []
        for e, place in stay:
            self.table.slots[place] = self.records.take(length[e] + 1)
            slots.append(self.table.slots[place])
            at.append(e * episodes.obs.shape[1] + np.arange(length[e] + 1))
        source, count = episodes.obs.device, [length[e] for e, _ in stay]
        index = torch.from_numpy(np.concatenate(at)).to(source)
        action, reward = episodes.action, episodes.reward
        action = torch.cat((torch.zeros_like(action[:, :1]), action), 1)  # (E, T+1, A)
        reward = torch.cat((torch.zeros_like(reward[:, :1]), reward), 1)  # (E, T+1)
        terminal = torch.zeros(len(index), dtype=torch.bool, device=source)
        if episodes.terminal is not None:
            last = torch.tensor(count, device=source).add(1).cumsum(0) - 1
            which = torch.tensor([e for e, _ in stay], device=source)
            terminal[last] = episodes.terminal.to(source)[which]
        self.records.write(
            torch.from_numpy(np.concatenate(slots)).to(self.device),
            *(
                value.flatten(0, 1)[index]
                for value in (episodes.obs, action.float(), reward.float())
            ),
            terminal,
        )

    def _inspected(self, episodes: Episodes) -> tuple[list[int], list[float]]:
        """Checks shapes and numbers; returns each episode's number of actions and its return."""
        count, most = episodes.reward.shape
        obs, action = self.records.obs, self.records.action
        if episodes.obs.dtype != obs.dtype:
            raise ValueError(f"observations are stored as {obs.dtype}, not {episodes.obs.dtype}")
        wanted = (count, most + 1, *obs.shape[1:]), (count, most, action.shape[1])
        if (episodes.obs.shape, episodes.action.shape) != wanted:
            arrived = tuple(episodes.obs.shape), tuple(episodes.action.shape)
            raise ValueError(f"observations and actions of {arrived} where {wanted} must arrive")
        told = episodes.length
        if told is None:
            told = torch.full((count,), most, device=episodes.reward.device)
        both = torch.stack((told.double(), episodes.reward.double().sum(1))).tolist()
        length, returned = [int(steps) for steps in both[0]], both[1]
        if max(length, default=0) > min(most, self.episode_length):
            raise UserError(
                f"an episode of {max(length)} steps arrived where all have at most "
                f"{min(most, self.episode_length)}; raise env.episode_length"
            )
        if not np.isfinite(returned).all():
            raise NonFiniteError("an episode's rewards are not all finite")
        return length, returned

    def _priorities(self, priority: Sequence[float] | Tensor | None, count: int) -> list[float]:
        if priority is None:
            if self.sampling_needs_priority:
                raise UserError(
                    "sampling 'uncertainty' needs the disagreement of an ensemble; set "
                    "explore.bonus to 'plan2explore' or choose another replay.sampling"
                )
            return [0.0] * count
        worth = [float(p) for p in torch.as_tensor(priority).double().tolist()]
        if not np.isfinite(worth).all():
            raise NonFiniteError("an episode's priority is not finite")
        if len(worth) != count or min(worth, default=0.0) < 0:
            raise ValueError(f"priorities {worth} are not {count} numbers from 0 on")
        return worth

    @property
    def sampling_needs_priority(self) -> bool:
        """Says whether `add` must be told a priority for every episode."""
        return self.sampler.sampling == "uncertainty"

    # Drawing -------------------------------------------------------------------------------

    def draw(self, batch: int, length: int, generator: torch.Generator) -> Rows:
        """Chooses B sequences of T records, on the host; `gather` fetches them.

        16 of 50 out of 20,000 episodes take about 0.1 ms of one core.

        Raises:
            UserError: nothing is stored.
        """
        _on_host(generator)
        if not len(self.table):
            raise UserError(
                f"the replay is empty, so nothing can be learnt from it ({self.discarded} episodes "
                f"were shorter than {self.min_length} steps); raise update.prefill or lower "
                "replay.min_length"
            )
        return self.sampler.draw(self.table, batch, length, generator)

    def gather(self, rows: Rows, out: Batch | None = None) -> Batch:
        """Fetches sequences.

        Args:
            out: contiguous tensors to write into, such as a recorded graph reads; None: new ones.
        """
        # One copy carries both: twice the slot, plus one where the latent is reset.
        packed = torch.from_numpy(rows.index * 2 + rows.first)  # (T, B)
        if self.device.type == "cuda":
            packed = packed.pin_memory()
        packed = packed.to(self.device, non_blocking=True)
        index, first = (packed >> 1).flatten(), (packed & 1).bool()
        found = {}
        for name in Records.FIELDS:
            pool = getattr(self.records, name)
            if out is None:
                found[name] = pool.index_select(0, index).view(*packed.shape, *pool.shape[1:])
            else:
                found[name] = getattr(out, name)
                flat = found[name].view(len(index), *pool.shape[1:])
                torch.index_select(pool, 0, index, out=flat)
        return Batch(first=first if out is None else out.first.copy_(first), **found)

    def sample(self, batch: int, length: int, generator: torch.Generator) -> Batch:
        """Draws and fetches B sequences of T records."""
        return self.gather(self.draw(batch, length, generator))

    def tasks_of(self, rows: Rows) -> np.ndarray:
        """Returns (T, B) the number of the task that each drawn record was collected in."""
        return self.table.task[rows.place]

    def better(self, rows: Rows) -> np.ndarray:
        """Returns (T, B) whether each drawn record's episode paid more than its task's average.

        The average is that of the task's episodes that are stored.
        """
        task, returned = self.tasks, self.returns
        count = np.bincount(task)
        average = np.bincount(task, returned) / np.maximum(count, 1)
        return self.table.returned[rows.place] > average[self.tasks_of(rows)]

    def whole(self, records: int, generator: torch.Generator) -> Episodes:
        """Copies E whole episodes, drawn without replacement; later draws stay as they are.

        Args:
            records: how many to take together, padding included, at most; one episode at least.
            generator: on any device.

        Returns:
            obs (E, T+1, *shape), action (E, T, A), reward (E, T), padded after an episode's end
            with its last record, and length (E,).
        """
        order = torch.randperm(len(self.table), generator=generator, device=generator.device)
        places, length = self.table.order[order.cpu().numpy()], self.table.column("length")
        length = length[order.cpu().numpy()]
        padded = np.maximum.accumulate(length + 1) * np.arange(1, len(length) + 1)
        count = max(1, int((padded <= records).sum()))
        places, length = places[:count], length[:count]
        at = np.minimum(np.arange(length.max(initial=0) + 1), length[:, None])  # (E, T+1)
        slots = [self.table.slots[place][row] for place, row in zip(places, at, strict=True)]
        index = torch.from_numpy(np.stack(slots)).to(self.device) if slots else None
        if index is None:
            raise UserError("the replay is empty, so it has no episodes to be looked at")
        pool = self.records
        return Episodes(
            pool.obs[index],
            pool.action[index[:, 1:]],
            pool.reward[index[:, 1:]],
            torch.from_numpy(length).to(self.device),
        )

    # Keeping -------------------------------------------------------------------------------

    def state_dict(self) -> dict:
        """Returns all but the settings; the stored records one after another, on the host."""
        table = self.table
        slots = [np.zeros(0, np.int64), *(table.slots[place] for place in table.order.tolist())]
        return {
            "records": self.records.read(np.concatenate(slots)),
            "table": {n: torch.from_numpy(table.column(n)) for n, _ in Table.COLUMNS},
            "arrived": table.arrived,
            "discarded": self.discarded,
            "rule": self.rule.state_dict(table.order),
            "sampler": self.sampler.state_dict(table),
        }

    def load_state_dict(self, state: dict) -> None:
        """Restores what `state_dict` returned; draws continue as if never interrupted."""
        old, self.discarded = self.records, state["discarded"]
        self.records = Records(
            old.limit, old.obs.shape[1:], old.obs.dtype, old.action.shape[1], self.device
        )
        slots = self.records.take(len(state["records"]["reward"]))
        columns = {name: value.cpu().numpy() for name, value in state["table"].items()}
        self.table = Table.restored(columns, slots, state["arrived"])
        at = torch.from_numpy(slots).to(self.device)
        self.records.write(at, *(state["records"][name] for name in Records.FIELDS))
        self.rule.load_state_dict(leaf_map(lambda t: t.to(self.device), state["rule"]))
        self.sampler.load_state_dict(state["sampler"], self.table)


def _on_host(generator: torch.Generator) -> None:
    if generator.device.type != "cpu":
        raise ValueError("the replay decides on the host and needs a generator on the CPU")
