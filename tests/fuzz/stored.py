"""Whole runs of a moment, by the command line and within this process, and what they leave."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
import yaml
from papermill.engines import Engine, papermill_engines
from PIL import Image

from lib import cli
from lib.algos import registry
from lib.core.paths import ROOT
from lib.envs import worlds
from lib.experiments import notebooks
from lib.plotting import video
from lib.runner import checkpoint, loop
from tests import cloning
from tests.run_folders import CLOCK
from tests.tiny import same

NOTEBOOK = ROOT / "tests" / "fuzz" / "stored_run.py"
RESUME = re.compile(r"'python -m lib resume (.+)'")
AGAIN = "give the command that started it again"
SAME = "give the same command again"
PASSING = (".lock", ".launch-lock", "progress.json", "timing.jsonl", "kernel.log")
COLOURS = 255


class InProcess(Engine):
    """Executes a notebook's cells in this process, so that its disk may fail."""

    @classmethod
    def execute_managed_notebook(cls, manager: Any, kernel_name: str, **_: Any) -> None:
        names: dict[str, Any] = {}
        for index, cell in enumerate(manager.nb.cells):
            manager.cell_start(cell, index)
            try:
                if cell.cell_type == "code":
                    cell.outputs = []
                    exec(cell.source, names)
            except Exception as error:
                said = {"ename": type(error).__name__, "evalue": str(error), "traceback": []}
                cell.outputs = [nbformat.v4.new_output("error", **said)]
                manager.cell_exception(cell, index, exception=error)
                break
            finally:
                manager.cell_complete(cell, index)


class Seen(cloning.Showing):
    """A world that can be filmed."""

    def pose(self) -> np.ndarray:
        return self.shown[:, self.at].numpy()


class Filmed(cloning.World):
    """Both tasks, which can be drawn."""

    def make(self, task_index: int) -> Seen:
        return Seen(self.tasks[task_index].name)

    def scene(self, task_index: int) -> Any:
        def frame(pose: np.ndarray, ghost: Any = None) -> np.ndarray:
            return np.full((16, 16, 3), int(abs(pose[0]) * COLOURS), np.uint8)

        return SimpleNamespace(frame=frame, close=lambda: None)


def _encode(encoder: str, pictures: Any, shape: tuple, fps: float, path: Path) -> None:
    with open(path, "wb") as file:
        for picture in pictures:
            file.write(picture[:2].tobytes())
        file.write(b"the end")


def furnish(patch: pytest.MonkeyPatch, place: Path) -> None:
    """Makes the command line run a small learner of one's own, within this process."""
    for task in cloning.SPACES:
        cloning.experience(place / "experience", task, episodes=5)
    budget = replace(cloning.BRIEF, updates_per_task=20, eval_every=10, checkpoint_every=7)
    given = {"dataset": str(place / "experience"), "budget": vars(budget)}
    family = replace(registry.FAMILIES["cloning"], presets={"cloning-tiny": given})
    patch.setitem(registry.FAMILIES, "cloning", family)
    patch.setattr(worlds, "resolve", lambda env, names: Filmed(tuple(names)).tasks)
    patch.setattr(worlds, "build", lambda env, names, *_: Filmed(tuple(names)))
    patch.setitem(papermill_engines._engines, None, InProcess)
    patch.setattr(notebooks, "COMPARE", NOTEBOOK)
    patch.setattr(loop, "CHUNK_SECONDS", float("inf"))
    patch.setattr(loop, "SAVE_SECONDS", float("inf"))
    patch.setattr(video, "_encoder", lambda: "none")
    patch.setattr(video, "_encode", _encode)
    patch.setattr(cli, "OUTPUTS", place / "outputs")
    (place / "outputs").mkdir()
    record = {"name": "mine", "preset": "cloning-tiny", "method": "cloning", "device": "cpu"}
    record |= {"tasks": list(cloning.SPACES)}
    (place / "mine.yaml").write_text("# A test. Source: none.\n" + yaml.safe_dump(record))


def command(*arguments: object) -> int:
    """The exit code of the command line."""
    given = [str(argument) for argument in arguments]
    own = ["--notebook", str(NOTEBOOK)] if given[0] in ("run", "resume") else []
    return cli.main([*given, *own])


def advised(
    said: str, given: tuple[object, ...], started: tuple[object, ...]
) -> tuple[object, ...]:
    """The command that a message tells to give, once what it complains of is mended.

    Args:
        given: the command that ended in it.
        started: the one that started the work.
    """
    if SAME in said:
        return given
    if found := RESUME.search(said):
        return ("resume", *shlex.split(found[1]))
    assert AGAIN in said, f"no advice in {said!r}"
    return started


def told(out: Path) -> dict[str, Any]:
    """What lies in a folder, by its meaning; fails where something is not whole."""
    paths = [path for path in sorted(out.rglob("*")) if path.is_file()]
    kept = [path for path in paths if path.name not in PASSING and ".partial" not in path.name]
    return {str(path.relative_to(out)): _meaning(path) for path in kept}


def _meaning(path: Path) -> Any:
    ending = path.suffix
    if ending == ".safetensors":
        state, meta = checkpoint.load(path)
        if "counters" in state:
            state["counters"].pop("seconds")
        return state, meta
    if ending == ".ipynb":
        node = nbformat.read(path, 4)
        return [(cell.source, str(cell.get("outputs"))) for cell in node.cells]
    if ending == ".json":
        return json.loads(path.read_text()) | CLOCK
    if ending == ".yaml":
        return yaml.safe_load(path.read_text())
    if ending == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    if ending == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    if ending == ".png":
        with Image.open(path) as picture:
            return np.asarray(picture).tobytes()
    if ending == ".mp4":
        assert path.read_bytes().endswith(b"the end"), f"{path} is half a film"
    return path.read_bytes()


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what differs between two folders."""
    names = sorted(one.keys() | other.keys())
    return [n for n in names if n not in one or n not in other or same(one[n], other[n])]
