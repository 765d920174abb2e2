"""Tells whether the notebook about a run is complete, with all its figures.

A notebook that was executed to its end says so in its metadata, and names what it was drawn from
and its figures, each with a digest. One that was interrupted says nothing of the kind.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lib.core.files import atomic_write, open_regular
from lib.runner.contents import FIGURES

if TYPE_CHECKING:
    from nbformat import NotebookNode

COMPLETE = "complete"  # in a notebook's metadata


def finish(notebook: "NotebookNode", path: Path, about: Iterable[Path]) -> None:
    """Writes an executed notebook to its place as one that is complete.

    Args:
        path: where it goes; its figures lie in the folder `figures` beside it.
        about: the files that it tells of.

    Raises:
        StorageError: it could not be written.
    """
    import nbformat

    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number}"  # drawn by chance until now
    figures = sorted((path.parent / FIGURES).glob("*.png"))
    notebook.metadata[COMPLETE] = {
        "about": _digests(path, about),
        FIGURES: _digests(path, (figure for figure in figures if figure.name[0] != ".")),
    }
    atomic_write(path, nbformat.writes(notebook))


def is_complete(path: Path, about: Iterable[Path]) -> bool:
    """Whether a notebook was executed to its end and is all there, figures included.

    Args:
        path: the notebook.
        about: the files that it would tell of if it were drawn now.
    """
    told = _told(path)
    if not isinstance(told, dict) or told.get("about") != _digests(path, about):
        return False
    figures = told.get(FIGURES)
    names = figures.keys() if isinstance(figures, dict) else [None]
    if not all(isinstance(name, str) for name in names):
        return False
    return figures == _digests(path, (path.parent / name for name in names))


def _told(path: Path) -> object:
    """What a notebook says of its own completeness; None where it says nothing, or is damaged."""
    import nbformat

    try:
        with open_regular(path) as file:
            notebook = nbformat.from_dict(json.load(file))
        nbformat.validate(notebook)
        return notebook.metadata.get(COMPLETE)
    except OSError:
        return None
    except Exception:  # whatever damaged contents make of the readers
        return None


def _digests(notebook: Path, files: Iterable[Path]) -> dict[str, str]:
    """Digests of files by their place as seen from a notebook; "" for what cannot be read."""
    found = {}
    for path in files:
        try:
            with open_regular(path) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            digest = ""
        found[Path(os.path.relpath(path, notebook.parent)).as_posix()] = digest
    return found
