"""Imports modules of the user's own, which register environments, where the user asked for it.

A file never can: ids of the form `module:id` are refused wherever they are read from one. What the
command line is told with `--import` is handed on to the notebook's process in its environment.
"""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.core.errors import UserError

ASKED = "WORKBOOK_IMPORT"  # a JSON list: the folder where modules are looked for, and their names


def ask_for(modules: Sequence[str]) -> None:
    """Imports modules here, and in every process that this one starts.

    Raises:
        UserError: one of them cannot be imported.
    """
    if modules:
        os.environ[ASKED] = json.dumps([str(Path.cwd()), *modules])
        import_them()


def import_them() -> None:
    """Imports what was asked for, if anything was.

    Raises:
        UserError: it cannot be imported.
    """
    folder, *modules = json.loads(os.environ.get(ASKED, '[""]'))
    if modules and folder not in sys.path:
        sys.path.append(folder)
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a module does when it is imported
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"--import {name}: {reason}; give a module as in 'import NAME'"
            ) from None
