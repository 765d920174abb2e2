"""Several processes learn one agent: each takes its share of every batch, and all step alike.

`torchrun` starts them, on one machine or on many. The first one leads: it goes through its run as a
process alone would, and tells the others what every update needs. They have no folder, evaluate
nothing and save nothing, so that a run may go on with another number of processes than it began
with. Gradients are averaged by PyTorch's DistributedDataParallel: with NCCL between GPUs, with Gloo
between CPUs.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lib.core.errors import UserError

PATIENCE = timedelta(days=1)  # that followers wait for while the leader evaluates
NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun


def size() -> int:
    """Counts the processes that learn together; 1 where torchrun did not start this one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if all(n in os.environ for n in NEEDED) else 1


def number() -> int:
    """Returns which of them this one is; 0 leads, and is alone where there is one."""
    return int(os.environ["RANK"]) if size() > 1 else 0


def check_share(batch: int, setting: str) -> None:
    """Raises UserError where a batch cannot be shared evenly.

    Args:
        setting: what its size is called.
    """
    if batch % size():
        raise UserError(
            f"{setting} {batch} cannot be shared by {size()} processes; take a multiple of "
            f"{size()}, or start another number of them (torchrun --nproc-per-node)"
        )


class Group:
    """The processes that learn together, as one of them sees them.

    Args:
        device: where this one computes.
    """

    def __init__(self, device: torch.device):
        self.number, self.size = number(), size()
        cuda = device.type == "cuda"
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
        self._words = distributed.new_group(backend="gloo", timeout=PATIENCE) if cuda else None

    def tell(self, order: Any) -> None:
        """Says something to all followers, which `hear` it in this order; the leader alone does."""
        distributed.broadcast_object_list([order], 0, self._words)

    def hear(self) -> Any:
        """Returns what the leader says next; waits for it."""
        heard = [None]
        distributed.broadcast_object_list(heard, 0, self._words)
        return heard[0]

    def share(self, batch: int) -> slice:
        """Returns which rows of a batch this process learns from."""
        each = batch // self.size
        return slice(self.number * each, (self.number + 1) * each)

    def weight(self, counted: Tensor) -> Tensor:
        """Returns what a mean over `counted` things here weighs in the mean over all processes."""
        total = counted.clone()
        distributed.all_reduce(total)
        return counted * self.size / total

    def averaging(self, loss: nn.Module, some_unused: bool) -> DistributedDataParallel:
        """Wraps what computes a loss, so that gradients become their mean over all processes.

        Args:
            some_unused: whether an update may leave out some parameters that learn.
        """
        return DistributedDataParallel(loss, find_unused_parameters=some_unused)

    @staticmethod
    def held_back(loss: nn.Module) -> AbstractContextManager:
        """Adds up gradients without averaging them yet."""
        return loss.no_sync() if isinstance(loss, DistributedDataParallel) else nullcontext()


_group: Group | None = None


def group(device: torch.device | str) -> Group | None:
    """Returns the processes that learn together, met when they are first asked for; None: alone."""
    global _group
    if size() > 1 and _group is None:
        _group = Group(torch.device(device))
    return _group


def dismiss() -> None:
    """Ends it: the leader tells the others that there is nothing left to do."""
    global _group
    if _group is None:
        return
    if _group.number == 0:
        _group.tell(None)
    distributed.destroy_process_group()
    _group = None
