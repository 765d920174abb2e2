"""Recorded CUDA graphs: a function whose tensors stay in place, launched as one piece.

Small networks leave a GPU waiting for its next kernel. A graph holds all kernels of a function
and starts them together. What changes between calls must be in tensors that stay where they are.
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from lib.core.trees import leaf_map

WARM_UP = 3  # plain calls before recording: libraries choose their kernels then


class Graphs:
    """Functions by key: run plainly at first, then recorded, then replayed.

    The plain calls are work done as any other, so nothing is computed twice. On a CPU, or where
    `enabled` is False, every call is plain.
    """

    def __init__(self, device: torch.device, enabled: bool = True):
        self.enabled = enabled and device.type == "cuda"
        self.calls: dict[Hashable, int] = {}
        self.recorded: dict[Hashable, tuple[Any, Any]] = {}
        self.pool: Any = None
        self.stream = torch.cuda.Stream(device) if self.enabled else None

    def run(self, key: Hashable, fn: Callable[[], Any]) -> Any:
        """Calls `fn`, which takes nothing and finds all it needs in place.

        Returns:
            What `fn` returned. A replay returns the same tensors each time, with new contents
            that hold until the next call of any key.
        """
        if not self.enabled:
            return fn()
        if key in self.recorded:
            graph, out = self.recorded[key]
            graph.replay()
            return out
        self.calls[key] = self.calls.get(key, 0) + 1
        if self.calls[key] <= WARM_UP:
            return self._aside(fn)
        graph = torch.cuda.CUDAGraph()
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            out = fn()
        self.recorded[key] = graph, out
        graph.replay()  # recording ran nothing
        return out

    def _aside(self, fn: Callable[[], Any]) -> Any:
        """A plain call on the stream that will record, so that its memory is settled there."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            out = fn()
        current.wait_stream(self.stream)
        leaf_map(lambda tensor: _kept_until(tensor, current), out)
        return out


def _kept_until(tensor: Tensor, stream: Any) -> Tensor:
    if tensor.is_cuda:
        tensor.record_stream(stream)
    return tensor
