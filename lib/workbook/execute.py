"""Executes a chapter in place, and refuses what another machine could not repeat."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.core.errors import UserError
from lib.core.paths import ROOT
from lib.experiments.notebooks import DID_NOT_START, PATIENCE

if TYPE_CHECKING:
    from nbformat import NotebookNode


def execute(node: "NotebookNode", name: str, films: Path) -> None:
    """Runs every cell in place, as a reader in the repository's root would.

    Args:
        name: of the chapter, for messages.
        films: where views leave their pictures for pages without a kernel.

    Raises:
        UserError: the kernel did not start, a cell failed, or the kernel died in it.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    from lib.core.kernel import FILMS, ThisPython

    reached = {"cell": 0}

    def reach(cell: Any, cell_index: int) -> None:
        reached["cell"] = cell_index + 1

    client = NotebookClient(
        node,
        timeout=None,
        startup_timeout=PATIENCE,
        iopub_timeout=PATIENCE,
        kernel_manager_class=ThisPython,
        coalesce_streams=True,
        record_timing=False,
        on_cell_start=reach,
        resources={"metadata": {"path": str(ROOT)}},
    )
    films.mkdir(parents=True, exist_ok=True)
    try:
        client.execute(env={**os.environ, FILMS: str(films.absolute())})
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}"
    except DeadKernelError:
        reason = "its process died; it may have run out of memory"
    except RuntimeError as error:
        if not str(error).startswith(DID_NOT_START):
            raise
        raise UserError(
            f"chapter {name}: its kernel did not start; what it said stands above; mend that and "
            "build again"
        ) from None
    else:
        return
    source = node.cells[reached["cell"] - 1].source.strip()
    raise UserError(
        f"chapter {name}, cell {reached['cell']} failed: {reason}\n"
        f"  the cell begins: {source.splitlines()[0]}\n"
        f"  its old .ipynb is kept; 'make lab' opens the chapter"
    )


def refuse_what_cannot_be_repeated(node: "NotebookNode", name: str) -> None:
    """Raises UserError where an output names a folder or an address of this machine."""
    folders = "|".join(re.escape(str(path)) for path in {ROOT, Path.home(), Path(sys.prefix)})
    local = re.compile(rf"(?:{folders})/[\w./-]*|\bat 0x[0-9a-f]{{6,}}")
    for index, cell in enumerate(node.cells, 1):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts = [str(value) for kind, value in data.items() if kind.startswith("text/")]
            for text in [output.get("text", ""), *texts]:
                if found := local.search(text):
                    raise UserError(
                        f"chapter {name}, cell {index} prints {found.group()!r}, which differs on "
                        f"another machine; print something that every machine agrees on"
                    )
