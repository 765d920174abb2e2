"""Shows without a GPU what `lib.engine.cuda_graphs` relies on: operations that are run again.

A CUDA graph holds kernels and the addresses of their tensors, nothing of Python. A `Record` holds
the same: every operation below PyTorch's autograd and function transforms, its numbers, and its
tensors, those that were there before by identity and those made on the way by number.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

READ_BACK = {
    # Python's ways to a tensor's numbers that no operation shows.
    getattr(Tensor, name)
    for name in ("tolist", "numpy", "cpu", "__array__", "__bool__", "__float__", "__int__", "item")
}


class Made(NamedTuple):
    """The n-th tensor that the operations made."""

    number: int


class Alias(NamedTuple):
    """Another look at the memory of a tensor that was made."""

    number: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


class Call(NamedTuple):
    """One operation; tensors made on the way are references."""

    operation: Callable[..., Any]
    args: tuple
    kwargs: dict[str, Any]
    made: tuple[int | None, ...]  # numbers of its outputs; None where they were there before


class Record:
    """The operations of a function that takes nothing and finds all it needs in place.

    Raises:
        AssertionError: one of them reads a value on the host, has a size that depends on values,
            draws random numbers, or makes a tensor from numbers of the host.
    """

    def __init__(self, fn: Callable[[], Any]):
        recorder = _Recorder()
        with _NoReadingBack(), recorder:
            self.out = fn()
        self.calls = recorder.calls
        self._found = tree_map(recorder.reference, self.out)

    def replay(self) -> Any:
        """Runs the operations again; the same output tensors with new contents."""
        made: dict[int, Tensor] = {}

        def look(part: Any) -> Any:
            if isinstance(part, Alias):
                return made[part.number].as_strided(*part[1:])
            return made[part.number] if isinstance(part, Made) else part

        for operation, args, kwargs, numbers in self.calls:
            args, kwargs = _with_leaves(look, (args, kwargs))
            outputs = tree_flatten(operation(*args, **kwargs))[0]
            made |= {n: out for n, out in zip(numbers, outputs, strict=True) if n is not None}
        for kept, new in zip(_tensors(self.out), _references(self._found), strict=True):
            kept.copy_(look(new))
        return self.out


class Replays:
    """Stands in for `lib.engine.cuda_graphs.Graphs`: a plain call, a recorded one, replays."""

    def __init__(self, device: torch.device, enabled: bool = True):
        self.enabled = True
        self.warm: set[Hashable] = set()
        self.records: dict[Hashable, Record] = {}

    def run(self, key: Hashable, fn: Callable[[], Any]) -> Any:
        if key not in self.warm:
            self.warm.add(key)
            return fn()
        if key not in self.records:
            self.records[key] = Record(fn)
            return self.records[key].out
        with torch.no_grad():
            return self.records[key].replay()


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.count = 0
        self.numbers: dict[int, int] = {}  # id of a tensor that was made, its number
        self.memory: dict[int, int] = {}  # memory that was made, number of its first tensor
        self.alive: list[Tensor] = []  # so that no id and no memory is used twice

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        _check(operation, args)
        given = _tensors((args, kwargs))
        known = {id(tensor) for tensor in given} | set(self.numbers)
        held = {_memory(tensor) for tensor in given} | set(self.memory)
        referred = _with_leaves(self.reference, (args, kwargs))
        out = operation(*args, **kwargs)
        numbers: list[int | None] = []
        for leaf in tree_flatten(out)[0]:
            if not isinstance(leaf, Tensor) or id(leaf) in known:
                numbers.append(None)
                continue
            numbers.append(self.count)
            self.numbers[id(leaf)] = self.count
            if _memory(leaf) not in held:
                self.memory[_memory(leaf)] = self.count
            self.count += 1
            self.alive.append(leaf)
        self.alive += given
        self.calls.append(Call(operation, *referred, tuple(numbers)))
        return out

    def reference(self, part: Any) -> Any:
        """How the record names a tensor; whatever else it is stays."""
        if not isinstance(part, Tensor):
            return part
        if id(part) in self.numbers:
            return Made(self.numbers[id(part)])
        if _memory(part) in self.memory:  # autograd keeps tensors under other names
            base = self.memory[_memory(part)]
            return Alias(base, tuple(part.shape), part.stride(), part.storage_offset())
        return part


class _NoReadingBack(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert function not in READ_BACK, f"{function} reads a tensor's values on the host"
        return function(*args, **(kwargs or {}))


def _check(operation: Any, args: tuple) -> None:
    """Refuses what a recorded graph could not hold."""
    tags, name = operation.tags, str(operation)
    assert torch.Tag.data_dependent_output not in tags, f"{name} reads a value on the host"
    assert torch.Tag.nondeterministic_seeded not in tags, f"{name} draws random numbers"
    assert "lift_fresh" not in name, f"{name}: a tensor is made from the host's numbers"
    if torch.Tag.dynamic_output_shape in tags:
        masks = [t for t in _tensors(args[1:]) if t.dtype in (torch.bool, torch.uint8)]
        assert name.startswith("aten.index.") and not masks, f"{name}: sizes depend on values"


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _with_leaves(fn: Callable[[Any], Any], tree: Any) -> Any:
    return tree_map(fn, tree, is_leaf=lambda part: isinstance(part, Made | Alias))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def _references(tree: Any) -> list[Any]:
    leaves = tree_flatten(tree, is_leaf=lambda part: isinstance(part, Made | Alias))[0]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor | Made | Alias)]
