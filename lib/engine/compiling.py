"""Compiles functions with PyTorch where that pays, and goes on without where it fails.

On a CPU the fused loops of a compiled function save more than half of a small network's update;
compiling costs up to a minute the first time and seconds afterwards, from the cache on disk. On a
CUDA device recorded graphs take that place, see `lib.engine.cuda_graphs`.
"""

import os
import shutil
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch

from lib.core.errors import UserError

PAYS_FROM = 6_000  # updates of a run; measured, see tests/benchmarks
RECOMPILES = 64  # of one function, for other horizons and numbers of rows


def has_compiler() -> bool:
    """Says whether there is a C++ compiler for PyTorch's generated code."""
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "clang++"))


def chosen(wish: str, device: torch.device, updates: int) -> bool:
    """Decides whether to compile: "always", "never", or "auto" for runs in which it pays back.

    Raises:
        UserError: asked for where there is no compiler.
    """
    if wish == "always" and not has_compiler():
        raise UserError(
            "engine.compile 'always' needs a C++ compiler and found neither g++ nor clang++; "
            "install one, name it in CXX, or use 'auto' or 'never'"
        )
    if wish != "auto":
        return wish == "always"
    return device.type == "cpu" and updates >= PAYS_FROM and has_compiler()


def wanted_on_gpu(wish: str, device: torch.device) -> bool:
    """Decides the same for networks too large for graphs and loops to matter: "auto" on a GPU.

    Raises:
        UserError: asked for where there is no compiler.
    """
    wish = "never" if wish == "auto" and device.type == "cpu" else wish
    return has_compiler() if wish == "auto" else chosen(wish, device, 0)


def compiled(fn: FunctionType, name: str) -> Callable[..., Any]:
    """Compiles a function at its first call, and returns it as it is if that fails.

    Args:
        fn: reads and writes nothing but its arguments and result.
        name: what profilers show.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(RECOMPILES, torch._dynamo.config.recompile_limit)
    # Closures of one function share their code, and the compiler would look through what it has
    # made for all of them at every call.
    own = fn.__code__.replace(co_name=name)
    apart = FunctionType(own, fn.__globals__, name, fn.__defaults__, fn.__closure__)
    fast, broken = torch.compile(apart, dynamic=False, fullgraph=True), False

    def call(*args: Any) -> Any:
        nonlocal broken
        if not broken:
            try:
                return fast(*args)
            except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                said = " ".join(lines[:2]) or type(error).__name__
                warnings.warn(
                    f"PyTorch could not compile a part of the update, which goes on slower "
                    f"without ({said}); set engine.compile never to stop trying",
                    stacklevel=2,
                )
                broken = True
        return fn(*args)

    return call
