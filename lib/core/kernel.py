"""The kernel that notebooks run in: this very interpreter, whatever kernels are registered."""

import os
import sys
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

UNATTENDED = "WORKBOOK_UNATTENDED"  # set in kernels that nobody sits in front of
FILMS = "WORKBOOK_FILMS"  # folder that views leave their pictures in, for pages without a kernel


def encryption() -> str:
    """How kernels are spoken to: encrypted where the messaging library can."""
    return "auto" if zmq.has("curve") else "disabled"


class ThisPython(AsyncKernelManager):
    """Starts `sys.executable` as the kernel.

    A kernel named python3 may be registered several times on one machine (conda, another
    environment, the user's folder) and point anywhere. The one that runs this module is the one
    that has the workbook's packages.
    """

    own_stderr: Path | None = None  # where the process's own stderr goes; None: where ours goes

    @default("transport_encryption")
    def _encrypt_where_possible(self) -> str:
        return encryption()

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[
                *(sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
                "--IPKernelApp.log_level=CRITICAL",  # it logs every ordinary shutdown
            ],
            display_name="Python 3 (ipykernel)",
            language="python",
            env={UNATTENDED: "1"},
            metadata={"supported_encryption": ["curve"]},
        )

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        if self.own_stderr is None:
            await super()._async_launch_kernel(kernel_cmd, **options)
            return
        handle = os.open(self.own_stderr, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        try:
            await super()._async_launch_kernel(kernel_cmd, **{"stderr": handle, **options})
        finally:
            os.close(handle)  # the kernel has its own copy


def logging_to(path: Path) -> type[ThisPython]:
    """A `ThisPython` whose kernel writes what no cell shows into a file.

    A cell's own messages reach the notebook. What is left are the last words of a process that
    crashes, and tracebacks of sockets torn down while a kernel ends, which mean nothing.
    """
    return type("ThisPython", (ThisPython,), {"own_stderr": path.absolute()})


def last_words(path: Path) -> str:
    """The last line that a kernel wrote into its log; empty where there is none."""
    try:
        lines = path.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
