"""Records functions as CUDA graphs, which launch all their kernels at once.

Small networks leave a GPU waiting for its next kernel. A graph holds all kernels of a function
and starts them together. What changes between calls must be in tensors with fixed addresses.
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from lib.core.trees import leaf_map

WARM_UP = 3  # plain calls before recording: libraries choose their kernels then


class Graphs:
    """Runs functions by key: plainly at first, then recorded, then replayed.

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
        """Runs `fn`, which takes no arguments and reads tensors with fixed addresses.

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
        """Runs `fn` plainly on the stream that will record, where its memory is then allocated."""
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
