"""Keeps what a run was asked for beside it, so that `resume` asks for the very same.

`config.yaml` has what results depend on. Films, W&B and how a setting was named are only here.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from lib.core.config import RunConfig
from lib.core.errors import UserError
from lib.core.files import atomic_write
from lib.core.storage import told_to_the_user
from lib.experiments import folders, params, run_config
from lib.runner import records
from lib.runner.contents import CONFIG, REQUEST
from lib.runner.run_folder import RunFolder, differences


def kept(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters as a record keeps them.

    The folder is wherever the record lies, and a screen belongs to whoever asks.
    """
    return {**parameters, "out_dir": "", "render": ""}


def write(folder: Path, config: RunConfig, parameters: Mapping[str, Any]) -> None:
    """Writes down the parameters of a run that is about to begin, or to go on.

    Those of a finished run stay, and those of another run, which training will refuse to touch.

    Args:
        parameters: of notebooks/20_run.py, which lead to `config`.

    Raises:
        StorageError: the folder cannot be written.
    """
    held = records.read_mapping(folder / CONFIG)
    another = held is not None and differences(held, params.record(config, parameters))
    if another or RunFolder(folder).is_complete():
        return
    with told_to_the_user(folder / REQUEST):
        folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / REQUEST, yaml.safe_dump(kept(parameters), sort_keys=False))


def read(folder: Path, held: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that lead to the run in a folder: as they were given, where that is known.

    Args:
        held: the run's configuration.

    Raises:
        UserError: the configuration does not fit this version of the workbook.
    """
    given = records.read_mapping(folder / REQUEST)
    with suppress(UserError):  # altered, or of another version: the configuration decides
        if given and not given.get("seeds"):
            given = run_config.PARAMETERS | given
            if not differences(held, params.record(run_config.resolve(given), given)):
                return given
    return params.from_record(held) | {"wandb": folders.wandb_mode(folder)}
