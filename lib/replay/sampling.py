"""Draws episodes and joins pieces of them into sequences, all on the host.

Letters: N episodes stored, K pieces, T records of a sequence, B rows.
"""

from typing import NamedTuple

import numpy as np
import torch

from lib.core.errors import UserError, unknown
from lib.replay.retention import uniform

SAMPLINGS = ("uniform", "recent", "reward", "uncertainty")
ROW_STARTS = ("zero", "carry")


class Rows(NamedTuple):
    """The slots of a batch's records, valid until episodes are added to the store."""

    index: np.ndarray  # (T, B) int64 slots of the store's records
    first: np.ndarray  # (T, B) bool, the latent is reset before this record
    place: np.ndarray  # (T, B) int64, of the record's episode in the store's table


class Table:
    """The host's list of stored episodes, with a few numbers about each.

    An episode keeps its place (an index into the columns) until it leaves; `order` lists the
    places in use, oldest first.
    """

    COLUMNS = (
        ("arrival", np.int64),  # number among all episodes that ever entered; -1: place is vacant
        ("length", np.int64),  # actions
        ("task", np.int64),  # for logs and plots; rehearsal and cloning alone learn from it
        ("returned", np.float64),  # sum of the world's rewards
        ("key", np.float64),  # the retention rule's
        ("priority", np.float64),  # for uncertainty sampling
    )

    def __init__(self) -> None:
        self.order = np.zeros(0, np.int64)
        self.slots: list[np.ndarray | None] = []  # by place: (L+1,) where the records lie
        self.vacant: list[int] = []
        self.arrived = 0  # episodes that ever entered
        self.changes = 0  # for whoever caches something
        for name, dtype in self.COLUMNS:
            setattr(self, name, np.zeros(0, dtype))

    def __len__(self) -> int:
        return len(self.order)

    @classmethod
    def restored(cls, columns: dict[str, np.ndarray], slots: np.ndarray, arrived: int) -> "Table":
        """A table of N episodes, oldest first, whose records lie at `slots` one after another."""
        table = cls()
        for name, dtype in cls.COLUMNS:
            setattr(table, name, columns[name].astype(dtype))
        table.order = np.arange(len(table.length))
        table.slots = np.split(slots, (table.length + 1).cumsum())[:-1]
        table.arrived = arrived
        return table

    def next_place(self) -> int:
        """The place that the next episode will get."""
        if not self.vacant:
            held = len(self.slots)
            more = max(held, 64)
            for name, dtype in self.COLUMNS:
                setattr(self, name, np.append(getattr(self, name), np.zeros(more, dtype)))
            self.arrival[held:] = -1
            self.slots += [None] * more
            self.vacant = list(range(held + more - 1, held - 1, -1))
        return self.vacant[-1]

    def enter(self, *, length: int, task: int, returned: float, key: float, priority: float) -> int:
        """Lists a new episode; its records have no slots yet. Returns its place."""
        place = self.next_place()
        self.vacant.pop()
        self.arrival[place], self.length[place], self.task[place] = self.arrived, length, task
        self.returned[place], self.key[place], self.priority[place] = returned, key, priority
        self.order = np.append(self.order, place)
        self.arrived += 1
        self.changes += 1
        return place

    def leave(self, positions: list[int]) -> list[np.ndarray]:
        """Strikes out episodes by their positions in `order`; returns the slots they had."""
        places = self.order[positions].tolist()
        given = [self.slots[place] for place in places if self.slots[place] is not None]
        for place in places:
            self.arrival[place], self.slots[place] = -1, None
        self.vacant += places
        self.order = np.delete(self.order, positions)
        self.changes += 1
        return given

    def column(self, name: str) -> np.ndarray:
        """Returns (N,) one column of the stored episodes, oldest first."""
        return getattr(self, name)[self.order]


def cut(
    records: np.ndarray, uniform: np.ndarray, length: int, slack: int
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses start and length of one piece out of each of K episodes.

    Lengths are shortened at random, so that episodes of one length do not all end at the same
    step of a sequence; starts favour the end of the episode, where rewards are.

    Args:
        records: (K,) records of each episode, at least 2.
        uniform: (K, 2) draws from [0, 1).
        length: records of a sequence, T.
        slack: a piece is shortened by 0 to slack - 1 records, never below `slack` by that; so many
            of the possible starts more than there are lie on the last one.

    Returns:
        (K,) starts and (K,) lengths, at least the smallest of `slack`, T and the records there are.

    Source: Continual-Dreamer's and DreamerV2's published code.
    """
    shorter = (uniform[:, 0] * slack).astype(np.int64)  # 0 to slack - 1
    whole = np.minimum(records, length)
    count = np.maximum(whole - shorter, np.minimum(whole, slack))
    spare = records - count
    start = (uniform[:, 1] * (spare + slack + 1)).astype(np.int64)  # 0 to spare + slack
    return np.minimum(start, spare), count


class Sampler:
    """Draws sequences that are put together from pieces of episodes.

    Pieces are laid end to end and cut into rows of T records, B consecutive rows a batch; what
    the last cut leaves over begins the next batch, unless its episode has left meanwhile.

    Args:
        sampling: the piece's episode. "uniform": each alike. "recent": with chance `recent_share`
            the one at floor(N sqrt(U)), oldest first, which favours new ones, else each alike.
            "reward": softmax of the returns. "uncertainty": in proportion to the priority that
            came with the episode (each alike where all are zero).
        slack: see `cut`.
        row_start: "zero" resets the latent at the beginning of every row. "carry" does so where a
            piece begins only; a row that begins within one gets the latent that the same row
            ended with in the batch before, which belongs to another episode.

    Source: Continual-Dreamer. Differs: "zero" (the code carries), and "uncertainty" works.
    """

    def __init__(self, sampling: str, recent_share: float, slack: int, row_start: str):
        if sampling not in SAMPLINGS:
            raise unknown("sampling", sampling, SAMPLINGS)
        if row_start not in ROW_STARTS:
            raise unknown("row start", row_start, ROW_STARTS)
        if not 0 <= recent_share <= 1:
            raise UserError(f"recent share {recent_share} is no share; give a number from 0 to 1")
        self.sampling, self.recent_share = sampling, recent_share
        self.slack, self.row_start = slack, row_start
        self.left: tuple[int, int, int, int] | None = None  # place, arrival, start, records
        self._cumulative: tuple[int, np.ndarray] | None = None  # the table's changes, (N,) weights

    def choose(self, table: Table, uniform: np.ndarray) -> np.ndarray:
        """(K,) positions in `table.order` for (K, 2) draws from [0, 1)."""
        n = len(table)
        if self.sampling in ("reward", "uncertainty"):
            total = self._weights(table)
            at = np.searchsorted(total, uniform[:, 1] * total[-1], side="right")
        else:
            share = uniform[:, 1]
            if self.sampling == "recent":
                share = np.where(uniform[:, 0] < self.recent_share, np.sqrt(share), share)
            at = (share * n).astype(np.int64)
        return np.minimum(at, n - 1)  # rounding may reach N

    def _weights(self, table: Table) -> np.ndarray:
        """(N,) cumulative weights, kept until the table changes."""
        if self._cumulative is None or self._cumulative[0] != table.changes:
            if self.sampling == "reward":
                returned = table.column("returned")
                weight = np.exp(returned - returned.max())
            else:
                weight = table.column("priority")
                weight = weight if weight.any() else np.ones_like(weight)
            self._cumulative = table.changes, weight.cumsum()
        return self._cumulative[1]

    def draw(self, table: Table, batch: int, length: int, generator: torch.Generator) -> Rows:
        """B rows of T records from a table that is not empty.

        Four draws per possible piece are taken at once; pieces beyond the last row are dropped,
        which leaves the rest as random as before.
        """
        need = batch * length
        left = self._left_over(table)
        missing = need - (left[2] if left else 0)
        shortest = min(self.slack or length, length, int(table.length[table.order].min()) + 1)
        pieces = max(0, -(-missing // shortest))  # even if all are so short
        draws = uniform(generator, pieces, 4)
        place = table.order[self.choose(table, draws[:, :2])]
        start, count = cut(table.length[place] + 1, draws[:, 2:], length, self.slack)
        if left:
            place, start, count = (
                np.concatenate(([one], many))
                for one, many in zip(left, (place, start, count), strict=True)
            )
        ends = count.cumsum()
        last = int(np.searchsorted(ends, need))  # the piece that fills the last row
        place, start, count = place[: last + 1], start[: last + 1], count[: last + 1]
        over = int(ends[last]) - need
        count[last] -= over
        self.left = None
        if over:
            held = int(place[last])
            then = int(start[last] + count[last])
            self.left = held, int(table.arrival[held]), then, over

        first = np.zeros(need, bool)
        first[ends[:last]] = True
        first[0] = left is None
        if self.row_start == "zero":
            first[::length] = True
        pieces_of = zip(place.tolist(), start.tolist(), count.tolist(), strict=True)
        index = np.concatenate([table.slots[p][s : s + n] for p, s, n in pieces_of])
        places = place.repeat(count)
        return Rows(*(part.reshape(batch, length).T.copy() for part in (index, first, places)))

    def _left_over(self, table: Table) -> tuple[int, int, int] | None:
        """Place, start and records of what the last batch left over, if it is still stored."""
        if self.left is None:
            return None
        place, arrival, start, records = self.left
        return (place, start, records) if table.arrival[place] == arrival else None

    def state_dict(self, table: Table) -> dict:
        """What is left over, its episode by its position in `table.order`."""
        left = self._left_over(table)
        if left is None:
            return {"left": None}
        place, start, records = left
        return {"left": [int(np.flatnonzero(table.order == place)[0]), start, records]}

    def load_state_dict(self, state: dict, table: Table) -> None:
        """Restores what `state_dict` returned, to a table whose order may use other places."""
        self.left, self._cumulative = None, None
        if state["left"] is not None:
            position, start, records = state["left"]
            place = int(table.order[position])
            self.left = place, int(table.arrival[place]), start, records
