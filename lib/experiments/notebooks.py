"""Executes notebooks with parameters, and checks those against what a notebook declares."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.core import storage
from lib.core.errors import NotebookFailed, UserError, short, unknown
from lib.core.files import replacing
from lib.core.paths import NOTEBOOKS, ROOT, from_root, shown
from lib.core.plain import check_plain
from lib.core.storage import told_to_the_user
from lib.experiments import drawing

if TYPE_CHECKING:  # the notebook packages take a second to import, so only when they are used
    from nbformat import NotebookNode

RUN = NOTEBOOKS / "20_run.py"
COMPARE = NOTEBOOKS / "21_compare.py"
SPEED = NOTEBOOKS / "22_speed.py"
TRANSFER = NOTEBOOKS / "10_transfer.py"
ENDINGS = (".py", ".ipynb")
KERNEL = "python3"
PATIENCE = 300  # [s] that a busy machine may take to start a kernel or to pass a message on
KERNEL_LOG = "kernel.log"  # beside an executed notebook: what its process said to no cell
DID_NOT_START = ("Kernel died before replying", "Kernel didn't respond")  # jupyter_client's words
TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}


def run(
    params: Mapping[str, Any],
    out_path: str | Path,
    notebook: str | Path = RUN,
    *,
    cwd: str | Path = ROOT,
    autosave_seconds: int = 30,
    about: Iterable[Path] = (),
) -> "NotebookNode":
    """Executes a notebook with parameters, in a kernel of this very interpreter.

    Args:
        params: values for names of the cell tagged `parameters`.
        out_path: where the executed .ipynb goes; saved after every cell and every
            `autosave_seconds` within one.
        notebook: a percent .py or an .ipynb.
        cwd: the kernel's working directory.
        about: files that the notebook tells of, for `drawing.is_complete`.

    Returns:
        The executed notebook.

    Raises:
        UserError: unknown parameter or wrong type, before anything is executed.
        StorageError: the notebook could not be written.
        NotebookFailed: the kernel did not start, or died.
        papermill.PapermillExecutionError: a cell failed; the marked notebook lies at `out_path`.
    """
    import papermill

    from lib.core.kernel import logging_to

    out_path = Path(out_path)
    node = checked(notebook, params)
    papermill.iorw.papermill_io.register(str(out_path.resolve()), _InOneStep())
    with told_to_the_user(out_path), _kernel_lives(out_path.with_name(KERNEL_LOG)):
        out_path.parent.mkdir(parents=True, exist_ok=True)
        executed = papermill.execute_notebook(
            node,
            str(out_path.resolve()).replace("{", "{{").replace("}", "}}"),
            parameters=_with_lists(dict(params)),
            cwd=str(cwd),
            kernel_name=KERNEL,
            kernel_manager_class=logging_to(out_path.with_name(KERNEL_LOG)),
            progress_bar=False,
            autosave_cell_every=autosave_seconds,
            start_timeout=PATIENCE,
            iopub_timeout=PATIENCE,
            coalesce_streams=True,
        )
        executed.metadata.papermill.input_path = from_root(Path(notebook))  # it was all cells
        drawing.finish(executed, out_path, about)
    return executed


class _InOneStep:
    """Where papermill saves a notebook while it executes it: no reader ever sees half of it."""

    def write(self, text: str, path: str) -> None:
        """Replaces the file, without forcing the disk; what is finished is forced in the end."""
        with replacing(Path(path), forced=False) as partial:
            partial.write_text(text, encoding="utf-8")

    def pretty_path(self, path: str) -> str:
        return path


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a message of papermill's is none that an exception tells as well."""
    return not record.getMessage().startswith("Error occurred while starting new kernel")


@contextmanager
def _kernel_lives(log: Path) -> Iterator[None]:
    """Tells of a kernel that does not start, or dies, what it said last.

    Raises:
        NotebookFailed: it did.
        OSError: so many files are open that there could be none.
    """
    import zmq
    from nbclient.exceptions import DeadKernelError

    from lib.core.kernel import last_words

    logging.getLogger("papermill").addFilter(_is_news)
    try:
        yield
        return
    except zmq.ZMQError as error:
        raise OSError(error.errno, os.strerror(error.errno)) from error
    except DeadKernelError:
        what = "died"
    except RuntimeError as error:
        if not str(error).startswith(DID_NOT_START):
            raise
        what = "did not start"
    said = last_words(log)
    why = f"saying {said!r}" if said else "perhaps for lack of memory"
    mended = storage.mended_by(said)
    problem = f"the notebook's kernel {what}, {why}"
    raise NotebookFailed(
        f"{problem}; {f'{mended} and ' if mended else ''}{storage.how_to_go_on(shown(log.parent))}",
        problem,
    ) from None


def checked(notebook: str | Path, params: Mapping[str, Any]) -> "NotebookNode":
    """A notebook, if it takes some parameters.

    Raises:
        UserError: it is not there, or no notebook; a parameter is unknown or of another type.
    """
    node = read(notebook)
    check_parameters(params, parameters(node), Path(notebook).name)
    return node


def parameters(notebook: "NotebookNode | str | Path") -> dict[str, str]:
    """Names and types of a notebook's parameters, "" where none is declared."""
    import papermill

    node = read(notebook) if isinstance(notebook, str | Path) else notebook
    found = papermill.inspect_notebook(node).values()
    return {item["name"]: item["inferred_type_name"].replace("None", "") for item in found}


def check_parameters(
    given: Mapping[str, Any], declared: Mapping[str, str], notebook: str = "the notebook"
) -> None:
    """Raises UserError for a name that is not declared or a value of another type."""
    for name, value in given.items():
        if name not in declared:
            raise unknown("parameter", name, declared, f"they are set in {notebook}")
        check_plain(value, f"parameter '{name}'")  # they become source text
        wanted = TYPES.get(declared[name].split("[")[0])
        fits = isinstance(value, (int, float) if wanted is float else wanted or object)
        if not fits or (isinstance(value, bool) and wanted in (int, float)):
            note = " (YAML reads 1e-4 as text: write 1.0e-4)" if wanted is float else ""
            raise UserError(
                f"parameter '{name}': got {short(value)} of type {type(value).__name__}, "
                f"wanted {declared[name]}{note}"
            )


def _with_lists(value: Any) -> Any:
    """The same with a list for every tuple, which papermill would write down as it is printed."""
    if isinstance(value, Mapping):
        return {key: _with_lists(item) for key, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, list | tuple) else value


def read(path: str | Path) -> "NotebookNode":
    """A notebook from a percent .py or an .ipynb, with a Python kernel named in its metadata.

    Raises:
        UserError: it is not there, or no notebook.
    """
    import jupytext

    path = Path(path)
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise unknown("notebook", path.name, there, f"looked in {path.parent}")
    try:
        node = jupytext.read(path) if path.suffix in ENDINGS else None
    except OSError:
        raise
    except Exception:  # whatever a damaged file makes of the readers
        node = None
    if not _is_notebook(node):
        raise UserError(f"'{path}' is no notebook; give a percent .py, or an .ipynb")
    node.metadata.setdefault("kernelspec", {}).update(
        display_name="Python 3 (ipykernel)", language="python", name=KERNEL
    )
    return node


def _is_notebook(node: Any) -> bool:
    """Whether all is of the kinds that those who execute a notebook take for granted."""

    def has(part: Any, **kinds: type) -> bool:
        return isinstance(part, dict) and all(
            isinstance(part.get(name), kind) for name, kind in kinds.items()
        )

    return (
        has(node, metadata=dict, cells=list)
        and isinstance(node["metadata"].get("kernelspec", {}), dict)
        and all(
            has(cell, cell_type=str, source=str, metadata=dict)
            and isinstance(cell["metadata"].get("tags", []), list)
            for cell in node["cells"]
        )
    )
