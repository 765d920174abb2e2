"""Derives several independent random streams, each with a name, from one seed.

Separate streams keep a change in one part (more evaluation episodes, say) from moving the
random numbers of every other part.
"""

import hashlib

import torch
from torch import Tensor

STREAMS = ("init", "env", "act", "update", "replay")


def stream_seed(seed: int, name: str) -> int:
    """Returns a 63-bit seed that depends on the run's seed and the stream's name."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Makes the generator of one named stream."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, name))


class Streams:
    """The random generators of a run, by stream.

    `init` lives on the CPU so that every device starts alike, `replay` because episodes are chosen
    there.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu"):
        self.seed = seed
        self.init = generator(seed, "init")
        self.env = generator(seed, "env", device)
        self.act = generator(seed, "act", device)
        self.update = generator(seed, "update", device)
        self.replay = generator(seed, "replay")

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).get_state() for name in STREAMS}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name in STREAMS:
            getattr(self, name).set_state(state[name].cpu())
