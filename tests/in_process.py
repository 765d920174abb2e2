"""The command line without kernels: what notebooks do with runs is done in this process."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from lib import cli
from lib.analysis import results
from lib.experiments import drawing, launch, notebooks, params, run_config, runs
from lib.runner import contents
from tests.tiny import SETTINGS

TINY = SETTINGS | {"budget.env_steps_per_task": 28, "env.episode_length": 7}
TINY |= {"budget.eval_every": 14, "budget.checkpoint_every": 14}


def patched(patch: pytest.MonkeyPatch, outputs: Path) -> None:
    """Runs go to a folder of the test's own, and no kernel is started."""
    patch.setattr(cli, "OUTPUTS", outputs)
    patch.setattr(launch, "execute", execute)
    patch.setattr(notebooks, "run", compare)


def execute(
    parameters: Mapping[str, Any],
    out: Path,
    notebook: Path,
    *_: Any,
    about: Iterable[Path] = (),
    **__: Any,
) -> None:
    """Trains as notebooks/20_run.py does, and reads what it draws."""
    (out / contents.LAUNCH_LOCK).touch()
    spec = runs.prepare(parameters, cli.OUTPUTS)
    runs.train(spec, tensorboard=False, progress=False)
    read([results.load_run(folder) for folder in spec.folders])
    for name in ("learning_curves", "final_returns", "return_matrix"):
        path = out / contents.FIGURES / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    drawing.finish(nbformat.v4.new_notebook(), out / contents.NOTEBOOK, about)


def compare(parameters: Mapping[str, Any], target: Path, notebook: Path) -> None:
    """Reads what notebooks/21_compare.py draws."""
    read([results.load_run(path) for path in parameters["runs"]])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()


def read(found: list[results.Run]) -> None:
    """Asks runs for everything that the notebooks draw."""
    groups = results.group_runs(found)
    results.comparison(groups)
    for group in groups:
        results.forward_transfer(group, groups)
        for task in group.first.tasks:
            group.curve(task)
    for run in found:
        names = {name for row in run.rows for name in row["values"]}
        for name in names:
            run.series(name, gaps=True)
        for after in range(len(run.tasks)):
            run.audit_arrays(after)
        run.performance(), run.areas(), run.by_room()


def params_file(folder: Path, **given: Any) -> Path:
    """A file for a run of one short task."""
    path = folder / "mine.yaml"
    parameters = {"name": "mine", "tasks": ["room-1"], "device": "cpu", "overrides": TINY}
    path.write_text("# A test. Source: none.\n" + yaml.safe_dump(parameters | given))
    return path


def record(**given: Any) -> dict[str, Any]:
    """What config.yaml holds of such a run."""
    parameters = run_config.PARAMETERS | given
    return json.loads(json.dumps(params.record(run_config.resolve(parameters), parameters)))
