"""What stays in a bounded memory: every item gets a key at arrival, and the smallest keys leave.

The rules serve the store of episodes, whose items differ in size, and the memory of transitions.

Letters: N items kept, F numbers in an embedding.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from lib.core.errors import unknown

SAMPLE = 1000  # stored embeddings that a new one is compared with at most


def uniform(generator: torch.Generator, *shape: int) -> np.ndarray:
    """Draws from [0, 1) on the host, in double precision."""
    return torch.rand(*shape, generator=generator, dtype=torch.float64).numpy()


class Retention(ABC):
    """A rule. The caller holds the keys, asks `key` once per arrival and then obeys `leaving`."""

    def views(self, obs: Tensor, length: list[int]) -> Tensor | None:
        """What the rule wants to know of E episodes that are about to arrive, one row each."""
        return None

    @abstractmethod
    def key(
        self, generator: torch.Generator, place: int, resident: np.ndarray, view: Tensor | None
    ) -> float:
        """The key of one arriving item.

        Args:
            place: where the caller will keep it; places of items that left are used again.
            resident: (N,) places of the items kept so far.
            view: the item's row of `views`.
        """

    def leaving(
        self, key: np.ndarray, size: np.ndarray, capacity: int, generator: torch.Generator
    ) -> list[int]:
        """Which items leave so that the rest fits: the smallest keys, until it does.

        Args:
            key: (N,) keys in the order of arrival, the new item last.
            size: (N,) size of each item.
            capacity: what the sizes kept may sum to.
        """
        return _smallest(key, size, capacity, [])

    def state_dict(self, resident: np.ndarray) -> dict:
        """What the rule remembers; `resident` (N,) are the places in use, in order."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Restores what `state_dict` returned, its items now at places 0 to N-1."""
        if state:
            raise ValueError(f"this rule remembers nothing, but {sorted(state)} arrived")


def _smallest(key: np.ndarray, size: np.ndarray, capacity: int, leaving: list[int]) -> list[int]:
    """Adds the smallest keys to those that leave already, until the rest fits."""
    excess = int(size.sum()) - int(size[leaving].sum()) - capacity
    if excess <= 0:
        return leaving
    left = key.copy()
    left[leaving] = np.inf
    while excess > 0:
        out = int(left.argmin())  # the oldest one where keys are equal
        leaving.append(out)
        excess -= int(size[out])
        left[out] = np.inf
    return leaving


class Fifo(Retention):
    """The oldest item leaves."""

    def __init__(self) -> None:
        self.arrived = 0

    def key(
        self, generator: torch.Generator, place: int, resident: np.ndarray, view: Tensor | None
    ) -> float:
        self.arrived += 1
        return float(self.arrived)

    def state_dict(self, resident: np.ndarray) -> dict:
        return {"arrived": self.arrived}

    def load_state_dict(self, state: dict) -> None:
        self.arrived = state["arrived"]


class Reservoir(Retention):
    """A uniform sample of everything that ever arrived: random keys, the largest stay.

    This is reservoir sampling (Vitter 1985) written so that many items may arrive in one step
    and may differ in size. Nothing enters any more below a key that had to leave: otherwise short
    late episodes would fill the gaps that long ones leave behind, and so be kept more often.
    Source: Continual-Dreamer, reservoir sampling; its published code does `RandomEvict`.
    """

    def __init__(self) -> None:
        self.floor = -1.0  # largest key that had to leave

    @staticmethod
    def keys(n: int, generator: torch.Generator) -> Tensor:
        """(n,) keys of items that arrive together, on the generator's device."""
        return torch.rand(n, generator=generator, device=generator.device)

    @staticmethod
    def kept(key: Tensor, capacity: int | None) -> Tensor:
        """Which items stay where all have size 1: (N,) keys to at most `capacity` indices."""
        if capacity is None or len(key) <= capacity:
            return torch.arange(len(key), device=key.device)
        return torch.topk(key, capacity).indices

    def key(
        self, generator: torch.Generator, place: int, resident: np.ndarray, view: Tensor | None
    ) -> float:
        return float(self.keys(1, generator))

    def leaving(
        self, key: np.ndarray, size: np.ndarray, capacity: int, generator: torch.Generator
    ) -> list[int]:
        refused = np.flatnonzero(key <= self.floor).tolist()
        leaving = _smallest(key, size, capacity, refused)
        if leaving:
            self.floor = max(self.floor, float(key[leaving].max()))
        return leaving

    def state_dict(self, resident: np.ndarray) -> dict:
        return {"floor": self.floor}

    def load_state_dict(self, state: dict) -> None:
        self.floor = state["floor"]


class RandomEvict(Retention):
    """Every new item enters and a random one leaves, so early items fade exponentially.

    Source: what Continual-Dreamer's published code does under the name of reservoir sampling;
    kept to reproduce its results. With room for one of four equal tasks, the tasks end up with
    about 5, 9, 24 and 62 % of the memory where a reservoir has 25 % of each.
    """

    def key(
        self, generator: torch.Generator, place: int, resident: np.ndarray, view: Tensor | None
    ) -> float:
        return 0.0

    def leaving(
        self, key: np.ndarray, size: np.ndarray, capacity: int, generator: torch.Generator
    ) -> list[int]:
        excess, leaving = int(size.sum()) - capacity, []
        while excess > 0:
            out = int(uniform(generator, 1)[0] * len(key))
            if out not in leaving:
                leaving.append(out)
                excess -= int(size[out])
        return leaving


class Coverage(Retention):
    """Keeps what is far from the rest: the key is a median distance to stored embeddings.

    At most `SAMPLE` embeddings are drawn among the stored ones and the new one itself; the first
    item's key is 1. A key is never computed again. Reads one number back per episode.

    Args:
        embed: maps stored observations (E, T+1, *shape) and the list of each episode's steps to
            embeddings (E, F). It is saved too: others' embeddings could not be compared.

    Source: Continual-Dreamer, coverage maximisation, with Euclidean distances.
    """

    def __init__(self, embed: nn.Module):
        self.embed = embed
        self.embedding: Tensor | None = None  # (places, F), grown as places are used

    def views(self, obs: Tensor, length: list[int]) -> Tensor:
        return self.embed(obs, length)

    def key(
        self, generator: torch.Generator, place: int, resident: np.ndarray, view: Tensor | None
    ) -> float:
        self._reserve(place + 1, view)
        self.embedding[place] = view
        if not len(resident):
            return 1.0
        compared = np.append(resident, place)
        if len(compared) > SAMPLE:
            chosen = torch.randperm(len(compared), generator=generator)[:SAMPLE]
            compared = compared[chosen.numpy()]
        stored = self.embedding[torch.from_numpy(compared).to(view.device)]
        distance = torch.linalg.vector_norm(stored - view, dim=1)
        return float(distance.quantile(0.5))

    def _reserve(self, places: int, like: Tensor) -> None:
        """Makes room for so many embeddings, doubling."""
        held = 0 if self.embedding is None else len(self.embedding)
        if places > held:
            grown = like.new_zeros(1 << max(4, (places - 1).bit_length()), like.shape[-1])
            if held:
                grown[:held] = self.embedding
            self.embedding = grown

    def state_dict(self, resident: np.ndarray) -> dict:
        stored = None
        if self.embedding is not None:
            stored = self.embedding[torch.from_numpy(resident).to(self.embedding.device)]
        return {"embedding": stored, "embed": self.embed.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        stored = state["embedding"]
        self.embedding = stored.clone() if stored is not None and len(stored) else None
        self.embed.load_state_dict(state["embed"])


NAMES = ("fifo", "reservoir", "random-evict", "coverage")


def build(name: str, embed: nn.Module | None = None) -> Retention:
    """The rule of that name.

    Args:
        embed: episodes to embeddings, for "coverage" alone.

    Raises:
        UserError: no rule has that name.
    """
    if name == "coverage":
        if embed is None:
            raise ValueError("coverage compares embeddings and needs a function that makes them")
        return Coverage(embed)
    simple = {"fifo": Fifo, "reservoir": Reservoir, "random-evict": RandomEvict}
    if name not in simple:
        raise unknown("retention", name, NAMES)
    return simple[name]()
