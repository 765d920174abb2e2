"""The kernel that notebooks run in: this very interpreter, whatever kernels are registered."""

import sys

import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets import default


class ThisPython(AsyncKernelManager):
    """Starts `sys.executable` as the kernel.

    A kernel named python3 may be registered several times on one machine (conda, another
    environment, the user's folder) and point anywhere. The one that runs this module is the one
    that has the workbook's packages.
    """

    @default("transport_encryption")
    def _encrypt_where_possible(self) -> str:
        return "auto" if zmq.has("curve") else "disabled"

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[
                *(sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
                "--IPKernelApp.log_level=CRITICAL",  # it logs every ordinary shutdown
            ],
            display_name="Python 3 (ipykernel)",
            language="python",
            metadata={"supported_encryption": ["curve"]},
        )
